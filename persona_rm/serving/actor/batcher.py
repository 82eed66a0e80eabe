"""Single calls that arrive together are scored together: the host asks for one reward at a time.

A batch closes when `max_rows` rows or `max_cost` tokens wait, or `max_wait` seconds after its first row. It takes one
row of each caller in turn, and after each row those of its group: one prompt's responses share their prefix. Scoring
runs in one thread, so the event loop keeps collecting the next batch meanwhile.

If a batch fails, the rows that its `ScoreError` names fail, and the others are scored again. An error that names no
row halves the batch until the bad rows are alone.
"""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from concurrent import futures
from contextlib import suppress
from functools import partial
from typing import Generic, TypeVar

from persona_rm.errors import Full, Late, ScoreError
from persona_rm.serving.actor.caller_queues import CallerQueues, QueueEntry

Item = TypeVar("Item")
Result = TypeVar("Result")
_Call = futures.Future[list[Result]]
COUNTS = ("submitted", "scored", "shared", "late", "left", "failed", "full", "batches")


def itself(item: object) -> Hashable:
    """Equal items are one request; an item without a hash equals no other."""
    try:
        hash(item)
    except TypeError:
        return None
    return item


class MicroBatcher(Generic[Item, Result]):
    """`await submit(item)` gives that item's result, or raises that item's error: each call ends once.

    It belongs to one event loop, and may go to another when that one is closed. It has no task: none can be cancelled.
    """

    def __init__(
        self,
        score: Callable[[Sequence[Item]], Sequence[Result]],
        max_rows: int = 32,
        max_wait: float = 0.01,
        *,
        cost: Callable[[Item], int] | None = None,
        max_cost: int | None = None,
        group: Callable[[Item], Hashable] | None = None,
        same: Callable[[Item], Hashable] | None = itself,
        limit: int = 4096,
        deadline: float | None = None,
    ) -> None:
        """Raises `ValueError` for limits under which nothing could ever be scored.

        `cost`: of an item, 1 by default; an item of more than `max_cost` goes alone. `group`: rows of one group are
        scored together; None is no group. `same`: requests with equal keys that wait or are scored are computed once;
        None equals no other. `limit`: rows in the queue; later calls wait for room. `deadline`: seconds of each call;
        None: no limit.
        """
        if min(max_rows, limit, 1 if max_cost is None else max_cost) < 1:
            raise ValueError(f"max_rows {max_rows}, max_cost {max_cost} and limit {limit} must be 1 or more")
        self.score, self.max_rows, self.max_wait = score, max_rows, max_wait
        self.cost, self.max_cost, self.group, self.same = cost, max_cost, group, same
        self.limit, self.deadline = limit, deadline
        self.sizes: list[int] = []
        """How many rows each call of `score` had, newest last, at most 1000."""
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
        """Calls: submitted, and of those shared (with an equal one), late and left (cancelled); full (refused). Rows:
        scored, failed. Calls of `score`: batches."""
        self._thread = futures.ThreadPoolExecutor(1, thread_name_prefix="score")
        self._began: float | None = None
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._empty()

    def _empty(self) -> None:
        """Start with empty queues."""
        self._waiting: CallerQueues[Item, Result] = CallerQueues()
        self._outside: CallerQueues[Item, Result] = CallerQueues()
        self._running: list[QueueEntry[Item, Result]] = []
        self._again: list[list[QueueEntry[Item, Result]]] = []
        self._keys: dict[Hashable, QueueEntry[Item, Result]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._fires = 0.0

    @property
    def waiting(self) -> int:
        """Rows in the queue: at most `limit`."""
        return len(self._waiting)

    @property
    def outside(self) -> int:
        """Rows that wait for room in the queue."""
        return len(self._outside)

    @property
    def stuck(self) -> float:
        """Seconds since the call of `score` that runs now began; 0 when none runs."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began

    async def submit(
        self, item: Item, *, caller: str = "", deadline: float | None = None, wait: bool = True
    ) -> Result:
        """This item's result. Callers take turns, however many items each of them sends.

        `deadline`: seconds, the wait for room included; None is the batcher's, `math.inf` none. `wait=False`: raise
        `Full` rather than wait for room. Raises `Late`, what the item's scoring raised, and `ScoreError` after `close`
        or on a second event loop.
        """
        loop = self._bind()
        seconds = self.deadline if deadline is None else deadline
        seconds = math.inf if seconds is None else seconds
        answer: asyncio.Future[Result] = loop.create_future()
        row = self._enter(item, caller, answer, wait)
        timer = loop.call_later(seconds, self._expire, row, answer, seconds) if 0 < seconds < math.inf else None
        if not seconds > 0:
            self._expire(row, answer, seconds)
        self._schedule()
        try:
            return await answer
        finally:
            if timer is not None:
                timer.cancel()
            self._leave(row, answer)

    def close(self) -> None:
        """Every call that waits raises `ScoreError`, also for a row that is scored now, and so does every later call.
        Called on its event loop."""
        self._closed = True
        self._thread.shutdown(wait=False)
        rows = [*self._waiting.rows, *self._outside.rows, *self._running, *(r for part in self._again for r in part)]
        self._empty()
        if self._loop is not None and not self._loop.is_closed():
            for row in rows:
                self._settle(row, None, ScoreError("the batcher was closed before this was scored", kind="down"))

    def _bind(self) -> asyncio.AbstractEventLoop:
        if self._closed:
            raise ScoreError("this batcher is closed: make another", kind="down")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._loop is not None and not self._loop.is_closed():
                raise ScoreError("this batcher belongs to another event loop, which is open: make one for each loop")
            self._loop = loop
            self._empty()
        return loop

    def _enter(
        self, item: Item, caller: str, answer: "asyncio.Future[Result]", wait: bool
    ) -> QueueEntry[Item, Result]:
        """The row of this call: its own, or that of an equal one which has no result yet."""
        key = self.same(item) if self.same is not None else None
        row = self._keys.get(key) if key is not None else None
        place = self._waiting if len(self._waiting) < self.limit else self._outside
        if not wait and (place if row is None else row.place) is self._outside:
            self.counts["full"] += 1
            raise Full(f"{self.waiting} rows wait and the limit is {self.limit}: try again later")
        if row is None:
            row = self._new(item, key, caller)
            place.add(row)
            if key is not None:
                self._keys[key] = row
        else:
            self.counts["shared"] += 1
            row.join(caller)
        row.answers[answer] = None
        self.counts["submitted"] += 1
        return row

    def _new(self, item: Item, key: Hashable, caller: str) -> QueueEntry[Item, Result]:
        cost = self.cost(item) if self.cost is not None else 1
        group = self.group(item) if self.group is not None else None
        return QueueEntry(item, asyncio.get_running_loop().time(), cost, key, group, {caller: None})

    def _expire(self, row: QueueEntry[Item, Result], answer: "asyncio.Future[Result]", seconds: float) -> None:
        if answer.done():
            return
        self.counts["late"] += 1
        doing = "while it was scored" if row.place is None else "before it was scored"
        others = f"{self.waiting + self.outside} rows were waiting"
        answer.set_exception(Late(f"no result within {seconds:g} s, which ended {doing}; {others}"))

    def _leave(self, row: QueueEntry[Item, Result], answer: "asyncio.Future[Result]") -> None:
        """This caller waits no longer. A row without a caller that has not begun is removed."""
        row.answers.pop(answer, None)
        if answer.cancelled():
            self.counts["left"] += 1
        elif answer.done():
            answer.exception()  # mark it as retrieved, also if the caller was cancelled before it woke up
        if not row.answers:
            self._withdraw(row)
            self._admit()

    def _withdraw(self, row: QueueEntry[Item, Result]) -> None:
        if row.place is not None:
            row.place.remove(row)
            self._forget(row)

    def _forget(self, row: QueueEntry[Item, Result]) -> None:
        if row.key is not None and self._keys.get(row.key) is row:
            del self._keys[row.key]

    def _admit(self) -> None:
        """Move rows into the queue while there is room; the callers outside take turns too."""
        while len(self._waiting) < self.limit and (row := self._outside.first()) is not None:
            self._outside.take(row)
            self._waiting.add(row)

    def _schedule(self) -> None:
        """Set the timer for the next batch. An earlier timer stays, because it checks again when it fires."""
        loop = asyncio.get_running_loop()
        if self._running or not (self._again or self._waiting.rows):
            return
        when = self._due(loop.time())
        if self._timer is None or when < self._fires:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._fires = loop.call_at(when, self._begin), when  # the handle of uvloop has no when()

    def _due(self, now: float) -> float:
        """When the next call of `score` begins, on the loop's clock; `now` is at once."""
        queue = self._waiting
        full = len(queue) >= min(self.max_rows, self.limit) or queue.cost >= (self.max_cost or math.inf)
        return now if self._again or full else max(queue.oldest + self.max_wait, now)

    def _begin(self) -> None:
        """Start the next call of `score` if one is due. No call runs now: no timer is set while one does."""
        self._timer = None
        rows, now = self._rest(), asyncio.get_running_loop().time()
        if not rows and self._waiting.rows and self._due(now) <= now:
            rows = self._compose()
        if rows:
            self._call(rows)
        else:
            self._schedule()

    def _rest(self) -> list[QueueEntry[Item, Result]]:
        """The remaining rows of a batch that failed, without those that no caller waits for any more."""
        rows: list[QueueEntry[Item, Result]] = []
        while self._again and not rows:
            for row in self._again.pop():
                if row.wanted:
                    rows.append(row)
                else:
                    self._forget(row)
        return rows

    def _compose(self) -> list[QueueEntry[Item, Result]]:
        """Take the next batch out of the queue. A row that does not fit ends it, and is the first of the next one."""
        batch: list[QueueEntry[Item, Result]] = []
        cost, most, group = 0, self.max_cost or math.inf, None
        while len(batch) < self.max_rows and (row := self._waiting.first(group)) is not None:
            if not row.wanted:
                self._withdraw(row)
            elif batch and cost + row.cost > most:
                break
            else:
                self._waiting.take(row)
                batch.append(row)
                cost, group = cost + row.cost, row.group
        self._admit()
        return batch

    def _call(self, rows: list[QueueEntry[Item, Result]]) -> None:
        self._running = rows
        self.sizes = [*self.sizes[-999:], len(rows)]
        self.counts["batches"] += 1
        try:
            call = self._thread.submit(self._timed, [row.item for row in rows])
        except RuntimeError as error:  # no thread can be started
            self._done(rows, error, ())
        else:
            call.add_done_callback(partial(self._tell, asyncio.get_running_loop().call_soon_threadsafe, rows))

    def _timed(self, items: list[Item]) -> list[Result]:
        """Runs in the thread."""
        self._began = time.monotonic()
        try:
            return list(self.score(items))
        finally:
            self._began = None

    def _tell(self, soon: Callable[..., object], rows: list[QueueEntry[Item, Result]], call: "_Call[Result]") -> None:
        """Hand the results from the thread to the loop. If the loop is closed no call waits for them."""
        error = call.exception()
        with suppress(RuntimeError):
            soon(self._done, rows, error, call.result() if error is None else ())

    def _done(
        self, rows: list[QueueEntry[Item, Result]], error: BaseException | None, results: Sequence[Result]
    ) -> None:
        self._running = []
        if error is not None:
            self._blame(rows, error)
        elif len(results) != len(rows):
            wrong = ScoreError(f"scoring {len(rows)} rows gave {len(results)} results: none can be told whose it is")
            for row in rows:
                self._settle(row, None, wrong)
        else:
            for row, result in zip(rows, results, strict=True):
                self._settle(row, result)
        self._schedule()

    def _blame(self, rows: list[QueueEntry[Item, Result]], error: BaseException) -> None:
        """The rows that the error names fail, and the others are scored again; without names, in two halves."""
        named = set(error.rows) if isinstance(error, ScoreError) else set()
        if len(rows) == 1:
            named = {0}
        if named and named <= set(range(len(rows))):
            for i in named:
                self._settle(rows[i], None, _error_for_caller(error))
            parts = [[row for i, row in enumerate(rows) if i not in named]]
        else:
            parts = [rows[len(rows) // 2 :], rows[: len(rows) // 2]]
        self._again += filter(None, parts)

    def _settle(
        self, row: QueueEntry[Item, Result], result: Result | None = None, error: Exception | None = None
    ) -> None:
        """Answer every call that still waits for this row."""
        self._forget(row)
        self.counts["scored" if error is None else "failed"] += 1
        for answer in row.answers:
            if answer.done():
                continue
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(result)  # type: ignore[arg-type]  # None only beside an error
        row.answers.clear()


def _error_for_caller(error: BaseException) -> Exception:
    """The error for a caller: positions in a batch mean nothing to it, and some exceptions would end more than a
    call."""
    if isinstance(error, ScoreError) and error.rows:
        told = error.at()
    elif isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    else:
        told = ScoreError(f"the scorer raised {type(error).__name__}, which ends more than one call")
    told.__cause__ = error
    return told
