"""Single-sample calls that arrive together are scored together: the host asks for one reward at a time.

A batch closes when `max_rows` calls wait or `max_wait` seconds after its first. Scoring runs in one thread, so the
event loop keeps collecting the next batch meanwhile. Where a batch fails its rows are scored one by one: only the bad
one fails.
"""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")
_Waiting = tuple[Item, "asyncio.Future[Result]"]


class MicroBatcher(Generic[Item, Result]):
    """`await submit(item)` gives that item's result, or raises that item's exception."""

    def __init__(
        self, score: Callable[[Sequence[Item]], Sequence[Result]], max_rows: int = 32, max_wait: float = 0.01
    ) -> None:
        self.score, self.max_rows, self.max_wait = score, max_rows, max_wait
        self.sizes: list[int] = []
        """How many rows each call of `score` had, newest last, at most 1000."""
        self._queue: asyncio.Queue[_Waiting[Item, Result]] = asyncio.Queue()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="score")
        self._worker: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Result:
        """Wait for this item's turn."""
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait((item, future))
        return await future

    async def _work(self) -> None:
        while True:
            await self._run(await self._collect())

    async def _collect(self) -> "list[_Waiting[Item, Result]]":
        batch = [await self._queue.get()]
        deadline = asyncio.get_running_loop().time() + self.max_wait
        while len(batch) < self.max_rows:
            left = deadline - asyncio.get_running_loop().time()
            try:
                batch.append(await asyncio.wait_for(self._queue.get(), max(left, 0)) if left > 0 else self._now())
            except (TimeoutError, asyncio.QueueEmpty):
                break
        return batch

    def _now(self) -> "_Waiting[Item, Result]":
        return self._queue.get_nowait()

    async def _run(self, batch: "list[_Waiting[Item, Result]]") -> None:
        try:
            results = await self._call([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - whatever a method raises belongs to its row, not to this loop
            if len(batch) == 1:
                _settle(batch[0][1], None, error)
                return
            for one in batch:
                await self._run([one])
            return
        for (_, future), result in zip(batch, results, strict=True):
            _settle(future, result, None)

    async def _call(self, items: list[Item]) -> Sequence[Result]:
        self.sizes = [*self.sizes[-999:], len(items)]
        results = await asyncio.get_running_loop().run_in_executor(self._thread, self.score, items)
        if len(results) != len(items):
            raise ValueError(f"scoring {len(items)} rows gave {len(results)} results")
        return results


def _settle(future: "asyncio.Future[Result]", result: Result | None, error: Exception | None) -> None:
    """A caller that went away (its future is cancelled) needs no answer."""
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)  # type: ignore[arg-type]
