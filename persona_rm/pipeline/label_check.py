"""Labels of prompt rows against the users of a bundle: how many are known, unknown, missing and bad."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from persona_rm.bundle import UNKNOWN, Bundle
from persona_rm.bundle.known_users import known_users
from persona_rm.config import did_you_mean
from persona_rm.errors import DataError
from persona_rm.hosts.command_records import DataColumns
from persona_rm.io.json_rows import JsonRow
from persona_rm.serving.labels import read_label

LabelKind = Literal["known", "unknown", "missing", "bad"]
KINDS: tuple[LabelKind, ...] = ("known", "unknown", "missing", "bad")
HALF = 0.5
"""A column is taken for the labels if at least this share of its values are users of the bundle."""
EXAMPLES = 3


@dataclass(frozen=True, slots=True)
class LabelReport:
    """The label of every row, by kind, and the group of its user."""

    column: str
    kinds: Sequence[LabelKind]
    users: Sequence[str | None]
    groups: Sequence[str]

    @property
    def counts(self) -> dict[LabelKind, int]:
        """How many rows have a label of each kind."""
        counts = Counter(self.kinds)
        return {kind: counts[kind] for kind in KINDS}

    def line(self) -> str:
        """The counts in words."""
        counts, n = self.counts, len(self.kinds)
        distinct = len({user for user, kind in zip(self.users, self.kinds, strict=True) if kind == "known"})
        said = f"{counts['known']:,} of {n:,} labels name a user of the bundle ({distinct:,} users)"
        rest = [f"{counts[kind]:,} {words}" for kind, words in REST.items() if counts[kind]]
        return f"{said}; {', '.join(rest)}" if rest else said

    def spread(self, limit: int) -> list[int]:
        """At most `limit` rows in their order, with every group and every kind of label among them: each in turn
        gives its next row, of users that were not drawn yet first."""
        queues: dict[tuple[str, str], list[int]] = defaultdict(list)
        seen: Counter[str | None] = Counter()
        rank = []
        for user in self.users:
            rank.append(seen[user])
            seen[user] += 1
        for place in sorted(range(len(self.kinds)), key=lambda place: (rank[place], place)):
            queues[self.kinds[place], self.groups[place]].append(place)
        drawn: list[int] = []
        while queues and len(drawn) < limit:
            for key in list(queues):
                drawn.append(queues[key].pop(0))
                if not queues[key]:
                    del queues[key]
        return sorted(drawn[:limit])


REST: dict[LabelKind, str] = {
    "unknown": "name another user",
    "missing": "name none",
    "bad": "cannot be read",
}
"""The kinds of label whose answers get the population prior, in words after their count."""


def label_report(rows: Sequence[JsonRow], column: str, bundle: Bundle) -> LabelReport:
    """The label of every row against the bundle. Raises `DataError` if none of them names a user of the bundle."""
    labels = [read_label(row.data.get(column)) for row in rows]
    known = known_users(bundle, [label.user for label in labels if label.user is not None])
    kinds: list[LabelKind] = []
    groups = []
    for label in labels:
        kind: LabelKind = "bad" if label.bad else "missing" if label.user is None else "unknown"
        kinds.append("known" if label.user in known else kind)
        user = bundle.users.get(label.user or "")
        groups.append(user.group if user and label.user in known else UNKNOWN)
    report = LabelReport(column, kinds, [label.user for label in labels], groups)
    if "known" not in kinds:
        raise rows[0].error(_mismatch(report, [label.bad for label in labels], bundle), column)
    return report


def _mismatch(report: LabelReport, bad: Sequence[str | None], bundle: Bundle) -> str:
    """What is wrong if no label is known: the kinds, some labels, some users of the bundle."""
    problem = f"no label names a user of the bundle, so every answer would get the population prior ({report.line()})"
    if reason := next((text for text in bad if text), None):
        problem += f"; the first bad label: {reason}"
    users = list(bundle.users)
    asked = [user for user in dict.fromkeys(report.users) if user is not None]
    if asked:
        hint = did_you_mean(asked[0], users)
        problem += f"; labels such as {', '.join(map(repr, asked[:EXAMPLES]))}{hint}"
    return f"{problem}; the bundle's users: {', '.join(map(repr, users[:EXAMPLES])) or 'none in its users file'}"


def label_column(rows: Sequence[JsonRow], columns: DataColumns, bundle: Bundle) -> tuple[str, list[str]]:
    """The column of the labels, and what the team should change in the command, if anything.

    Raises `DataError` if the command names a column that is missing, or names none and no column holds users of the
    bundle.
    """
    have, flag = rows[0].data, columns.label_flag
    shares = {name: _share(rows, name, bundle) for name in have}
    best = max(shares, key=lambda name: shares[name])
    if columns.label is not None:
        if columns.label not in have:
            there = f"; the users of the bundle are in the column {best!r}" if shares[best] >= HALF else ""
            problem = f"no such column, and --{flag} names it; the row has: {', '.join(have)}{there}"
            raise rows[0].error(f"{problem}{did_you_mean(columns.label, have)}", columns.label)
        return columns.label, []
    if shares[best] < HALF:
        problem = f"the command has no --{flag}, and no column of the file holds users of the bundle"
        do = "add a column with the user of each row, and the flag that names it"
        raise DataError(f"{problem} (its columns: {', '.join(have)}): {do}", file=rows[0].file)
    why = "without this flag every answer gets the population prior; add it to the command"
    return best, [f"{flag}: nothing -> {best}: {why}"]


def _share(rows: Sequence[JsonRow], column: str, bundle: Bundle) -> float:
    """The share of rows whose value in this column names a user of the bundle."""
    values: list[Any] = [row.data.get(column) for row in rows]
    users = [read_label(value).user for value in values]
    known = known_users(bundle, [user for user in users if user])
    return sum(user in known for user in users) / len(rows)
