"""What became of every user's pairs: counted while they are made, shown as a table and written as JSON."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from persona_rm.types import UserState

KINDS = ("known", "cold", "unknown", "erased")
PRIOR = ("unknown", "erased")
"""Users whose rewards are those of the population prior because the bundle does not know them."""
SHOWN = 20
"""Users in the table; all of them are in the JSON."""
NAMED = 3


def kind_of(inferred: UserState) -> str:
    """`known` (with evidence), `cold` (in the bundle, without evidence), `unknown` (not in the bundle) or `erased`."""
    if not inferred.known:
        return "erased" if inferred.status == "erased" else "unknown"
    return "cold" if inferred.status == "cold" else "known"


@dataclass(slots=True)
class UserPairs:
    """The counts of one user, and the sum of the absolute margins of the pairs that were compared."""

    kind: str
    counts: Counter[str] = field(default_factory=Counter)
    margins: float = 0.0


class PairReport:
    """Counts by user. `columns` are the names of the counts in the order of the table; the first one is the whole, of
    which `share` is shown as a percentage too."""

    def __init__(self, columns: Sequence[str], share: str) -> None:
        self.columns, self.share = tuple(columns), share
        self.by_user: dict[str, UserPairs] = {}
        self.bad_rows = 0
        self.remark = ""
        """What else a reader has to know."""
        self.known: list[str] = []
        """Some users of the bundle, for the message about unknown ones."""

    def count(self, user: str, kind: str, *names: str, margin: float = 0.0) -> None:
        """Count one pair of this user under each of `names`."""
        entry = self.by_user.setdefault(user, UserPairs(kind))
        entry.counts.update(names)
        entry.margins += abs(margin)

    @property
    def total(self) -> Counter[str]:
        """The counts of all users."""
        counts: Counter[str] = Counter()
        for entry in self.by_user.values():
            counts.update(entry.counts)
        return counts

    @property
    def kinds(self) -> Counter[str]:
        """How many users there are of each kind."""
        return Counter(entry.kind for entry in self.by_user.values())

    def warnings(self) -> list[str]:
        """What to know before the rows are used: users that the bundle does not know, bad rows, the remark."""
        bad = f"{self.bad_rows:,} bad rows were quarantined, with file, row and key" if self.bad_rows else ""
        return [text for text in (self._unknown(), bad, self.remark) if text]

    def _unknown(self) -> str:
        prior = {user: entry for user, entry in self.by_user.items() if entry.kind in PRIOR}
        if not prior:
            return ""
        pairs, whole = sum(entry.counts[self.columns[0]] for entry in prior.values()), self.total[self.columns[0]]
        named = ", ".join(repr(user) for user in list(prior)[:NAMED])
        there = f"; users of the bundle are {', '.join(map(repr, self.known))}" if self.known else ""
        return (
            f"{len(prior):,} of {len(self.by_user):,} users ({pairs:,} of {whole:,} {self.columns[0]}) are not in the "
            f"bundle: the population prior, which is the same for all of them, decided. The first: {named}"
            f"{there}. --strict makes this an error"
        )

    def to_json(self, about: Mapping[str, Any]) -> dict[str, Any]:
        """The whole report; `about` comes first."""
        by_user = {user: self._row(entry) for user, entry in sorted(self.by_user.items())}
        users = {kind: self.kinds[kind] for kind in KINDS}
        whole = {"bad_rows": self.bad_rows, "remark": self.remark, "users": users, "by_user": by_user}
        return {**about, **self._counts(self.total), **whole}

    def state(self) -> dict[str, Any]:
        """All counts as plain JSON, for `restore`."""
        users = {user: [entry.kind, dict(entry.counts), entry.margins] for user, entry in self.by_user.items()}
        return {"bad_rows": self.bad_rows, "users": users}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Continue from the counts of `state`."""
        self.bad_rows = state["bad_rows"]
        for user, (kind, counts, margins) in state["users"].items():
            self.by_user[user] = UserPairs(kind, Counter(counts), margins)

    def table(self, title: str) -> Table:
        """The users with the largest share, and all users together."""
        table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE, pad_edge=False)
        table.add_column("user", overflow="fold")
        table.add_column("", no_wrap=True)
        for column in (*self.columns, f"{self.share} %", "mean margin"):
            table.add_column(column, justify="right", no_wrap=True)
        order = sorted(self.by_user, key=lambda user: (-self._share(self.by_user[user]), user))
        for user in order[:SHOWN]:
            table.add_row(Text(user), *self._cells(self.by_user[user]))
        if len(order) > SHOWN:
            table.add_row(f"... {len(order) - SHOWN:,} more")
        whole = UserPairs("", self.total, sum(entry.margins for entry in self.by_user.values()))
        table.add_row(f"{len(order):,} users", *self._cells(whole), style="bold")
        return table

    def _cells(self, entry: UserPairs) -> list[str]:
        counts = [f"{entry.counts[column]:,}" for column in self.columns]
        return [entry.kind, *counts, f"{100 * self._share(entry):.1f}", f"{self._mean(entry):.3g}"]

    def _row(self, entry: UserPairs) -> dict[str, Any]:
        return {"kind": entry.kind, **self._counts(entry.counts), "mean_margin": self._mean(entry)}

    def _counts(self, counts: Mapping[str, int]) -> dict[str, int]:
        return {column.replace(" ", "_"): counts.get(column, 0) for column in self.columns}

    def _share(self, entry: UserPairs) -> float:
        return entry.counts[self.share] / max(1, entry.counts[self.columns[0]])

    def _mean(self, entry: UserPairs) -> float:
        return entry.margins / max(1, entry.counts[self.columns[0]])
