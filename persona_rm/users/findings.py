"""What reading a users file noticed: kinds of faults and peculiarities, each with a count and examples.

An example names file, row and key. It never holds a user's text.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from persona_rm.errors import DataError

Severity = Literal["bad", "warning", "note"]
"""bad: rows or items that were left out; warning: kept, but probably not meant so; note: kept, good to know."""
SEVERITIES: tuple[Severity, ...] = ("bad", "warning", "note")
EXAMPLES = 5
"""Number of examples that a finding keeps."""
UNREADABLE = "unreadable"
"""The kind of the finding that counts the rows and items that were left out."""


@dataclass(frozen=True, slots=True)
class FileFinding:
    """One kind of finding. `problem` says in a sentence what it means and what to do."""

    kind: str
    severity: Severity
    count: int
    problem: str
    examples: tuple[str, ...] = ()

    def describe(self) -> str:
        """One line: severity, count, problem and the examples."""
        examples = f" ({'; '.join(self.examples)})" if self.examples else ""
        return f"{self.severity} ({self.count:,}): {self.problem}{examples}"


class Findings:
    """Counts findings by kind while a file is read."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._said: dict[str, tuple[Severity, str]] = {}
        self._examples: dict[str, list[str]] = {}
        self._reasons: set[tuple[str | None, str]] = set()
        self.first: DataError | None = None
        """The first error of `bad`."""

    def __getitem__(self, kind: str) -> int:
        """How often the kind occurred."""
        return self._counts.get(kind, 0)

    def add(self, kind: str, severity: Severity, problem: str, example: str = "", count: int = 1) -> None:
        """Count an occurrence. The first `EXAMPLES` examples are kept."""
        self._counts[kind] = self[kind] + count
        self._said.setdefault(kind, (severity, problem))
        examples = self._examples.setdefault(kind, [])
        if example and len(examples) < EXAMPLES:
            examples.append(example)

    def bad(self, error: DataError) -> None:
        """Count a row or an item that was left out. Examples of other reasons than those seen come first."""
        self.first = self.first or error
        new = (error.key, error.problem) not in self._reasons and len(self._reasons) < EXAMPLES
        if new:
            self._reasons.add((error.key, error.problem))
        self.add(UNREADABLE, "bad", "rows or items cannot be read and are left out", str(error) if new else "")

    def results(self) -> list[FileFinding]:
        """All findings: what was left out first, then warnings, then notes."""
        every = [
            FileFinding(kind, severity, self[kind], problem, tuple(self._examples[kind]))
            for kind, (severity, problem) in self._said.items()
        ]
        return sorted(every, key=lambda finding: SEVERITIES.index(finding.severity))


def brief(user: str) -> str:
    """A user id in quotation marks, cut to 40 characters: in some data sets it is a whole sentence."""
    return repr(user if len(user) <= 40 else f"{user[:39]}…")


def named(values: Iterable[str], limit: int = 12) -> str:
    """Names in one line, at most `limit` of them and each cut, for errors about columns."""
    every = [value if len(value) <= 40 else f"{value[:39]}…" for value in values]
    more = f" and {len(every) - limit} more" if len(every) > limit else ""
    return (", ".join(every[:limit]) or "nothing") + more
