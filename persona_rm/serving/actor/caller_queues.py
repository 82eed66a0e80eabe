"""Rows that wait to be scored, and whose turn it is. Nothing here waits or scores: `batcher` does.

Every caller has a line and the callers have turns, so one who sends 10,000 rows delays the others by one row each. A
row may stand in several lines, where equal requests are one row.
"""

import asyncio
import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(eq=False, slots=True)
class QueueEntry(Generic[Item, Result]):
    """One computation, and everybody who waits for it. `place`: where it waits; None once it has begun."""

    item: Item
    since: float
    cost: int
    key: Hashable
    group: Hashable
    callers: dict[str, None] = field(default_factory=dict)
    answers: "dict[asyncio.Future[Result], None]" = field(default_factory=dict)
    place: "CallerQueues[Item, Result] | None" = None

    @property
    def wanted(self) -> bool:
        """False when all went away. A cancelled future is seen before its caller wakes."""
        return any(not answer.done() for answer in self.answers)

    def join(self, caller: str) -> None:
        """This caller wants it too: it is taken at the first turn of any of them."""
        self.callers[caller] = None
        if self.place is not None:
            self.place.line_up(self, caller)


class CallerQueues(Generic[Item, Result]):
    """Rows that wait: a line for each caller, one for each group, and all in the order of their arrival."""

    def __init__(self) -> None:
        self.rows: dict[QueueEntry[Item, Result], None] = {}
        self.cost = 0
        self._lines: dict[Hashable, dict[QueueEntry[Item, Result], None]] = {}
        self._groups: dict[Hashable, dict[QueueEntry[Item, Result], None]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def oldest(self) -> float:
        """Since when the first of all waits; infinite where none does."""
        return next(iter(self.rows)).since if self.rows else math.inf

    def add(self, row: QueueEntry[Item, Result]) -> None:
        """At the end of the lines of its callers and of its group."""
        if row.group is not None:
            self._groups.setdefault(row.group, {})[row] = None
        for caller in row.callers:
            self.line_up(row, caller)
        self.rows[row], row.place = None, self
        self.cost += row.cost

    def line_up(self, row: QueueEntry[Item, Result], caller: str) -> None:
        """At the end of one more line."""
        self._lines.setdefault(caller, {})[row] = None

    def remove(self, row: QueueEntry[Item, Result]) -> None:
        """Out of all lines."""
        del self.rows[row]
        row.place = None
        self.cost -= row.cost
        for lines, keys in ((self._lines, row.callers), (self._groups, (row.group,))):
            for key in keys:
                if (line := lines.get(key)) is not None:
                    line.pop(row, None)
                    if not line:
                        del lines[key]

    def first(self, group: Hashable = None) -> QueueEntry[Item, Result] | None:
        """The first of this group, else the first of the caller whose turn it is."""
        line = self._groups.get(group) or next(iter(self._lines.values()), {})
        return next(iter(line), None)

    def take(self, row: QueueEntry[Item, Result]) -> None:
        """Remove it; if it was first in the line whose turn it is, that line is last now."""
        caller, line = next(iter(self._lines.items()))
        served = next(iter(line)) is row
        self.remove(row)
        if served and caller in self._lines:
            self._lines[caller] = self._lines.pop(caller)
