"""The queue of rows that wait to be scored, fair between callers. Nothing here waits or scores: `batcher` does.

Every caller has a queue of its own, and the queues are served in turn (round robin), so a caller that sends 10,000
rows delays each other caller by one row at a time. Equal requests are one row, which may stand in several queues.
"""

import asyncio
import math
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


# Rows are keys of the dicts below, so they are hashed and compared by identity: two rows may hold equal items.
@dataclass(eq=False, slots=True)
class QueueEntry(Generic[Item, Result]):
    """One computation (a row) and the futures of all calls that wait for its result.

    `arrived` is the time of the first call. `queues` is where the row waits; it is None once scoring has begun.
    """

    item: Item
    arrived: float
    cost: int
    key: Hashable
    group: Hashable
    # Dicts with the value None are ordered sets here and below: a row leaves in constant time, and the order stays.
    callers: dict[str, None] = field(default_factory=dict)
    futures: "dict[asyncio.Future[Result], None]" = field(default_factory=dict)
    queues: "CallerQueues[Item, Result] | None" = None

    @property
    def wanted(self) -> bool:
        """False if every call was cancelled or timed out. A cancelled future is seen before its caller wakes up."""
        return any(not future.done() for future in self.futures)

    def join(self, caller: str) -> None:
        """Add a caller of an equal request. The row is scored when it is the turn of any of its callers."""
        self.callers[caller] = None
        if self.queues is not None:
            self.queues.enqueue(self, caller)

    def settle(self, result: Result | None, error: Exception | None) -> None:
        """Give the result or the error to every call that still waits."""
        for future in self.futures:
            # A call that was cancelled or timed out has its outcome already, and a future takes no second one.
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # None only beside an error
        self.futures.clear()


class CallerQueues(Generic[Item, Result]):
    """The rows that wait, in one queue per caller, in one queue per group, and all together by their arrival."""

    def __init__(self) -> None:
        self.rows: dict[QueueEntry[Item, Result], None] = {}
        self.cost = 0
        # The order of the keys is the round robin: the caller that is served next comes first.
        self._by_caller: dict[Hashable, dict[QueueEntry[Item, Result], None]] = {}
        self._by_group: dict[Hashable, dict[QueueEntry[Item, Result], None]] = {}

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def oldest(self) -> float:
        """The arrival time of the oldest row; infinite if there is none."""
        return next(iter(self.rows)).arrived if self.rows else math.inf

    def add(self, row: QueueEntry[Item, Result]) -> None:
        """Append the row to the queues of its callers and of its group."""
        if row.group is not None:
            self._by_group.setdefault(row.group, {})[row] = None
        for caller in row.callers:
            self.enqueue(row, caller)
        self.rows[row], row.queues = None, self
        self.cost += row.cost

    def enqueue(self, row: QueueEntry[Item, Result], caller: str) -> None:
        """Append the row to the queue of this caller."""
        self._by_caller.setdefault(caller, {})[row] = None

    def remove(self, row: QueueEntry[Item, Result]) -> None:
        """Remove the row from all queues. A queue that becomes empty is deleted."""
        del self.rows[row]
        row.queues = None
        self.cost -= row.cost
        # A row may stand in the queues of several callers. A row without a group has the key None, under which there
        # is no queue.
        for queues, keys in ((self._by_caller, row.callers), (self._by_group, (row.group,))):
            for key in keys:
                if (queue := queues.get(key)) is not None:
                    queue.pop(row, None)
                    # An empty queue would keep its caller's turn, and `first` would find no row although other callers
                    # wait.
                    if not queue:
                        del queues[key]

    def first(self, group: Hashable = None) -> QueueEntry[Item, Result] | None:
        """The first row of this group; if the group has none, the first row of the caller that is served next."""
        queue = self._by_group.get(group) or next(iter(self._by_caller.values()), {})
        return next(iter(queue), None)

    def take(self, row: QueueEntry[Item, Result]) -> None:
        """Remove the row. If it was the first row of the caller that is served next, that caller is served last now.

        A row that was taken for its group does not use up the turn of a caller.
        """
        caller, queue = next(iter(self._by_caller.items()))
        # Read before the removal, which may delete this queue.
        served = next(iter(queue)) is row
        self.remove(row)
        if served and caller in self._by_caller:
            self._by_caller[caller] = self._by_caller.pop(caller)
