"""Micro-batching: single calls that arrive together are scored in one batch, as a host asks for one reward at a time.

A batch starts when `max_rows` rows or a cost of `max_cost` are waiting, or `max_wait` seconds after its oldest row
arrived. It takes rows from the callers in turn, and after each row the other rows of its group, because the responses
to one prompt share their prefix. Scoring runs in one thread, so the event loop collects the next batch meanwhile.

If a batch fails, the rows that its `ScoreError` names fail, and the other rows are scored again. If the error names no
rows, the batch is split in halves until the bad rows are alone.
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
    """The item as its own key, so that equal items share one computation; None for an item that has no hash."""
    try:
        hash(item)
    except TypeError:
        return None
    return item


class MicroBatcher(Generic[Item, Result]):
    """`await submit(item)` returns the result of this item, or raises the error of this item.

    A batcher belongs to one event loop, and to another one only after the first is closed. It runs no background task
    that could be cancelled: timers and callbacks do the work.
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
        """`cost`: the cost of an item, 1 by default; an item above `max_cost` gets a batch of its own. `group`: rows
        with equal groups are batched together; a row with the group None has no group. `same`: a key; items with equal
        keys share one computation while it waits or runs, and an item with the key None shares none. `limit`: maximum
        number of rows in the queue; later calls wait for room. `deadline`: default timeout of a call in seconds; None:
        no timeout. Raises `ValueError` if a limit is below 1, because then nothing could be scored."""
        if min(max_rows, limit, 1 if max_cost is None else max_cost) < 1:
            raise ValueError(f"max_rows {max_rows}, max_cost {max_cost} and limit {limit} must be 1 or more")
        self.score, self.max_rows, self.max_wait = score, max_rows, max_wait
        self.cost, self.max_cost, self.group, self.same = cost, max_cost, group, same
        self.limit, self.deadline = limit, deadline
        self.sizes: list[int] = []
        """The number of rows in each of the last 1000 calls of `score`, newest last."""
        self.counts: Counter[str] = Counter(dict.fromkeys(COUNTS, 0))
        """`submitted` counts calls. Of these calls, `shared` were computed together with an equal one, `late` timed
        out, and `left` were cancelled. `full` counts calls that were rejected because the queue was full. `scored` and
        `failed` count rows, and `batches` counts calls of `score`."""
        self._thread = futures.ThreadPoolExecutor(1, thread_name_prefix="score")
        self._scoring_since: float | None = None
        self._closed = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._reset()

    def _reset(self) -> None:
        self._waiting: CallerQueues[Item, Result] = CallerQueues()
        self._outside: CallerQueues[Item, Result] = CallerQueues()
        self._running: list[QueueEntry[Item, Result]] = []
        self._retries: list[list[QueueEntry[Item, Result]]] = []
        self._by_key: dict[Hashable, QueueEntry[Item, Result]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due = 0.0

    @property
    def waiting(self) -> int:
        """The number of rows in the queue, at most `limit`."""
        return len(self._waiting)

    @property
    def outside(self) -> int:
        """The number of rows that wait for room in the queue."""
        return len(self._outside)

    @property
    def stuck(self) -> float:
        """Seconds since the running call of `score` began; 0 if none is running."""
        began = self._scoring_since  # read once: the scoring thread may reset it
        return 0.0 if began is None else time.monotonic() - began

    async def submit(
        self, item: Item, *, caller: str = "", deadline: float | None = None, wait: bool = True
    ) -> Result:
        """Queue the item and wait for its result. Callers are served in turn, however many items each one submits.

        `deadline`: timeout in seconds, the wait for room in the queue included; None: the batcher's default;
        `math.inf`: no timeout. `wait=False`: raise `Full` instead of waiting for room. Raises `Late` at the timeout,
        what the scoring of the item raised, and `ScoreError` after `close` or on a second open event loop.
        """
        loop = self._bind()
        seconds = self.deadline if deadline is None else deadline
        seconds = math.inf if seconds is None else seconds
        future: asyncio.Future[Result] = loop.create_future()
        row = self._enqueue(item, caller, future, wait)
        timer = loop.call_later(seconds, self._expire, row, future, seconds) if 0 < seconds < math.inf else None
        if not seconds > 0:
            self._expire(row, future, seconds)
        self._schedule()
        try:
            return await future
        finally:
            if timer is not None:
                timer.cancel()
            self._leave(row, future)

    def close(self) -> None:
        """Fail every call that waits, also for a row that is being scored, with a `ScoreError`; later calls fail too.

        Must be called on the batcher's event loop.
        """
        self._closed = True
        self._thread.shutdown(wait=False)  # the event loop must not wait for the running call, which may hang
        rows = [*self._waiting.rows, *self._outside.rows, *self._running]
        rows += [row for part in self._retries for row in part]
        self._reset()
        if self._loop is not None and not self._loop.is_closed():
            for row in rows:
                self._settle(row, None, ScoreError("the batcher was closed before this was scored", kind="down"))

    def _bind(self) -> asyncio.AbstractEventLoop:
        """The running event loop, to which the batcher belongs from now on."""
        if self._closed:
            raise ScoreError("this batcher is closed: make another", kind="down")
        loop = asyncio.get_running_loop()
        if loop is not self._loop:
            if self._loop is not None and not self._loop.is_closed():
                raise ScoreError("this batcher belongs to another event loop, which is open: make one for each loop")
            self._loop = loop
            self._reset()
        return loop

    def _enqueue(
        self, item: Item, caller: str, future: "asyncio.Future[Result]", wait: bool
    ) -> QueueEntry[Item, Result]:
        """The row of this call: a new one, or that of an equal request which has no result yet."""
        key = self.same(item) if self.same is not None else None
        row = self._by_key.get(key) if key is not None else None
        queues = self._waiting if len(self._waiting) < self.limit else self._outside
        if not wait and (queues if row is None else row.queues) is self._outside:
            self.counts["full"] += 1
            raise Full(f"{self.waiting} rows wait and the limit is {self.limit}: try again later")
        if row is None:
            cost = self.cost(item) if self.cost is not None else 1
            group = self.group(item) if self.group is not None else None
            row = QueueEntry(item, asyncio.get_running_loop().time(), cost, key, group, {caller: None})
            queues.add(row)
            if key is not None:
                self._by_key[key] = row
        else:
            self.counts["shared"] += 1
            row.join(caller)
        row.futures[future] = None
        self.counts["submitted"] += 1
        return row

    def _expire(self, row: QueueEntry[Item, Result], future: "asyncio.Future[Result]", seconds: float) -> None:
        """The timeout of one call."""
        if future.done():
            return
        self.counts["late"] += 1
        state = "while it was scored" if row.queues is None else "before it was scored"
        others = f"{self.waiting + self.outside} rows were waiting"
        future.set_exception(Late(f"no result within {seconds:g} s: the deadline passed {state}; {others}"))

    def _leave(self, row: QueueEntry[Item, Result], future: "asyncio.Future[Result]") -> None:
        """This call no longer waits. A row without calls is removed from the queue unless its scoring has begun."""
        row.futures.pop(future, None)
        if future.cancelled():
            self.counts["left"] += 1
        elif future.done():
            future.exception()  # marks it as retrieved, also if the caller was cancelled before it woke up
        if not row.futures:
            self._withdraw(row)
            self._admit()

    def _withdraw(self, row: QueueEntry[Item, Result]) -> None:
        """Remove a row that waits. A row whose scoring has begun is left as it is."""
        if row.queues is not None:
            row.queues.remove(row)
            self._forget_key(row)

    def _forget_key(self, row: QueueEntry[Item, Result]) -> None:
        """Later equal requests no longer share this row."""
        if row.key is not None and self._by_key.get(row.key) is row:
            del self._by_key[row.key]

    def _admit(self) -> None:
        """Move rows into the queue while it has room. Callers are served in turn here too."""
        while len(self._waiting) < self.limit and (row := self._outside.first()) is not None:
            self._outside.take(row)
            self._waiting.add(row)

    def _schedule(self) -> None:
        """Set the timer for the next batch. An earlier timer stays, because it checks again when it fires."""
        loop = asyncio.get_running_loop()
        if self._running or not (self._retries or self._waiting.rows):
            return
        when = self._due(loop.time())
        if self._timer is None or when < self._timer_due:
            if self._timer is not None:
                self._timer.cancel()
            # The time is kept here because the timer handles of uvloop do not give it.
            self._timer, self._timer_due = loop.call_at(when, self._start_batch), when

    def _due(self, now: float) -> float:
        """When the next call of `score` begins, on the clock of the event loop; `now` means at once."""
        queue = self._waiting
        full = len(queue) >= min(self.max_rows, self.limit) or queue.cost >= (self.max_cost or math.inf)
        return now if self._retries or full else max(queue.oldest + self.max_wait, now)

    def _start_batch(self) -> None:
        """Start the next call of `score` if one is due. None is running, because no timer is set while one is."""
        self._timer = None
        rows, now = self._next_retry(), asyncio.get_running_loop().time()
        if not rows and self._waiting.rows and self._due(now) <= now:
            rows = self._compose()
        if rows:
            self._call(rows)
        else:
            self._schedule()

    def _next_retry(self) -> list[QueueEntry[Item, Result]]:
        """A remaining part of a failed batch, without the rows for which no call waits any more."""
        rows: list[QueueEntry[Item, Result]] = []
        while self._retries and not rows:
            for row in self._retries.pop():  # the part that was added last holds the earlier rows
                if row.wanted:
                    rows.append(row)
                else:
                    self._forget_key(row)
        return rows

    def _compose(self) -> list[QueueEntry[Item, Result]]:
        """Take the next batch from the queue. A row that exceeds `max_cost` ends the batch and starts the next one."""
        batch: list[QueueEntry[Item, Result]] = []
        cost, max_cost, group = 0, self.max_cost or math.inf, None
        while len(batch) < self.max_rows and (row := self._waiting.first(group)) is not None:
            if not row.wanted:  # its calls have ended, and none has woken up yet to withdraw it
                self._withdraw(row)
            elif batch and cost + row.cost > max_cost:
                break
            else:
                self._waiting.take(row)
                batch.append(row)
                cost, group = cost + row.cost, row.group
        self._admit()
        return batch

    def _call(self, rows: list[QueueEntry[Item, Result]]) -> None:
        """Score these rows in the thread. `_done` runs on the event loop when the thread has finished."""
        self._running = rows
        self.sizes = [*self.sizes[-999:], len(rows)]
        self.counts["batches"] += 1
        try:
            call = self._thread.submit(self._timed, [row.item for row in rows])
        except RuntimeError as error:  # no thread can be started
            self._done(rows, error, ())
        else:
            call.add_done_callback(partial(self._hand_over, asyncio.get_running_loop().call_soon_threadsafe, rows))

    def _timed(self, items: list[Item]) -> list[Result]:
        """Score the items and keep the time for `stuck`. This runs in the thread."""
        self._scoring_since = time.monotonic()
        try:
            return list(self.score(items))
        finally:
            self._scoring_since = None

    def _hand_over(
        self, call_soon: Callable[..., object], rows: list[QueueEntry[Item, Result]], call: "_Call[Result]"
    ) -> None:
        """Pass results from the thread to the event loop. If the loop is closed, no call waits for them."""
        error = call.exception()
        with suppress(RuntimeError):
            call_soon(self._done, rows, error, call.result() if error is None else ())

    def _done(
        self, rows: list[QueueEntry[Item, Result]], error: BaseException | None, results: Sequence[Result]
    ) -> None:
        """Settle the rows of a finished call, and schedule the next one."""
        self._running = []  # first of all: `_schedule` sets no timer while a batch runs
        if error is not None:
            self._split_failed(rows, error)
        elif len(results) != len(rows):
            wrong = ScoreError(f"scoring {len(rows)} rows gave {len(results)} results: none can be assigned to a row")
            for row in rows:
                self._settle(row, None, wrong)
        else:
            for row, result in zip(rows, results, strict=True):
                self._settle(row, result)
        self._schedule()

    def _split_failed(self, rows: list[QueueEntry[Item, Result]], error: BaseException) -> None:
        """Fail the rows that the error names and retry the others. If it names none, retry each half."""
        named = set(error.rows) if isinstance(error, ScoreError) else set()
        if len(rows) == 1:
            named = {0}
        if named and named <= set(range(len(rows))):
            for i in named:
                self._settle(rows[i], None, _error_for_caller(error))
            parts = [[row for i, row in enumerate(rows) if i not in named]]
        else:
            parts = [rows[len(rows) // 2 :], rows[: len(rows) // 2]]  # `_next_retry` takes the last part first
        self._retries += filter(None, parts)

    def _settle(
        self, row: QueueEntry[Item, Result], result: Result | None = None, error: Exception | None = None
    ) -> None:
        """Count the row, and give its result or error to every call that still waits for it."""
        self._forget_key(row)
        self.counts["scored" if error is None else "failed"] += 1
        row.settle(result, error)


def _error_for_caller(error: BaseException) -> Exception:
    """The error without positions in the batch, which mean nothing to a caller. `StopIteration`, which a future cannot
    carry, and exceptions such as `SystemExit`, which would end the process, are replaced by a `ScoreError`."""
    if isinstance(error, ScoreError) and error.rows:
        replaced = error.at()
    elif isinstance(error, Exception) and not isinstance(error, StopIteration):
        return error
    else:
        replaced = ScoreError(f"the scorer raised {type(error).__name__}, which ends more than one call")
    replaced.__cause__ = error
    return replaced
