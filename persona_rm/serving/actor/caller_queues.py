"""Rows that wait to be scored, in fair order. This module only keeps the order: `batcher` waits and scores.

Every caller has a queue and the callers take turns, so a caller with 10,000 rows delays the others by one row each. A
row can be in the queues of several callers, because equal requests are one row.
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
    """One computation, and the calls that wait for it. `place`: the queues it waits in; None once it has begun."""

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
        """False if all calls were cancelled. A cancelled future is seen before its caller wakes up."""
        return any(not answer.done() for answer in self.answers)

    def join(self, caller: str) -> None:
        """One more caller waits for it: it is taken at the first turn of any of them."""
        self.callers[caller] = None
        if self.place is not None:
            self.place.enqueue(self, caller)


class CallerQueues(Generic[Item, Result]):
    """Rows that wait: a queue for each caller, one for each group, and all rows in the order of their arrival."""

    def __init__(self) -> None:
        self.rows: dict[QueueEntry[Item, Result], None] = {}
        self.cost = 0
        self._by_caller: dict[Hashable, dict[QueueEntry[Item, Result], None]] = {}
        self._by_group: dict[Hashable, dict[QueueEntry[Item, Result], None]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def oldest(self) -> float:
        """When the first of all rows arrived; infinite without rows."""
        return next(iter(self.rows)).since if self.rows else math.inf

    def add(self, row: QueueEntry[Item, Result]) -> None:
        """Append to the queues of its callers and of its group."""
        if row.group is not None:
            self._by_group.setdefault(row.group, {})[row] = None
        for caller in row.callers:
            self.enqueue(row, caller)
        self.rows[row], row.place = None, self
        self.cost += row.cost

    def enqueue(self, row: QueueEntry[Item, Result], caller: str) -> None:
        """Append to the queue of one more caller."""
        self._by_caller.setdefault(caller, {})[row] = None

    def remove(self, row: QueueEntry[Item, Result]) -> None:
        """Remove from all queues."""
        del self.rows[row]
        row.place = None
        self.cost -= row.cost
        for queues, keys in ((self._by_caller, row.callers), (self._by_group, (row.group,))):
            for key in keys:
                if (queue := queues.get(key)) is not None:
                    queue.pop(row, None)
                    if not queue:
                        del queues[key]

    def first(self, group: Hashable = None) -> QueueEntry[Item, Result] | None:
        """The first of this group, else the first of the caller whose turn it is."""
        queue = self._by_group.get(group) or next(iter(self._by_caller.values()), {})
        return next(iter(queue), None)

    def take(self, row: QueueEntry[Item, Result]) -> None:
        """Remove the row. If it was the first of the caller whose turn it is, the turn goes to the next caller."""
        caller, queue = next(iter(self._by_caller.items()))
        served = next(iter(queue)) is row
        self.remove(row)
        if served and caller in self._by_caller:
            self._by_caller[caller] = self._by_caller.pop(caller)
