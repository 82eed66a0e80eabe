import asyncio
import threading
import time

import pytest

from persona_rm.serving.batcher import MicroBatcher


def gather(batcher, items):
    async def main():
        return await asyncio.gather(*[batcher.submit(item) for item in items], return_exceptions=True)

    return asyncio.run(asyncio.wait_for(main(), 20))


def double(items):
    return [2 * item for item in items]


def test_calls_that_arrive_together_are_scored_together_and_answered_apart():
    batcher = MicroBatcher(double, max_rows=8)
    assert gather(batcher, range(20)) == [2 * i for i in range(20)]
    assert batcher.sizes == [8, 8, 4]


def test_a_lonely_call_waits_no_longer_than_the_limit():
    batcher = MicroBatcher(double, max_rows=8, max_wait=0.05)
    started = time.perf_counter()
    assert gather(batcher, [3]) == [6]
    assert time.perf_counter() - started < 2


def test_calls_that_come_while_a_batch_is_scored_make_the_next_one():
    def slow(items):
        time.sleep(0.1)
        return double(items)

    batcher = MicroBatcher(slow, max_rows=100, max_wait=0.001)

    async def main():
        first = asyncio.create_task(batcher.submit(1))
        await asyncio.sleep(0.05)
        rest = [asyncio.create_task(batcher.submit(i)) for i in range(2, 12)]
        return await asyncio.gather(first, *rest)

    assert asyncio.run(main()) == [2 * i for i in range(1, 12)]
    assert batcher.sizes == [1, 10]


def test_one_bad_row_fails_alone():
    def picky(items):
        if 3 in items:
            raise ValueError("three")
        return double(items)

    results = gather(MicroBatcher(picky, max_rows=8), range(6))
    assert isinstance(results[3], ValueError)
    assert [r for r in results if not isinstance(r, Exception)] == [0, 2, 4, 8, 10]


def test_the_batcher_goes_on_after_a_failure():
    def never(items):
        raise RuntimeError("no")

    batcher = MicroBatcher(never)

    async def main():
        with pytest.raises(RuntimeError):
            await batcher.submit(1)
        batcher.score = double
        return await batcher.submit(2)

    assert asyncio.run(main()) == 4


def test_a_missing_result_is_an_error_and_not_shifted():
    results = gather(MicroBatcher(lambda items: [0.0] * (len(items) + 1)), range(3))
    assert all(isinstance(r, ValueError) for r in results)


def test_a_caller_that_went_away_harms_nobody():
    batcher = MicroBatcher(double, max_wait=0.05)

    async def main():
        gone = asyncio.create_task(batcher.submit(1))
        await asyncio.sleep(0.01)
        gone.cancel()
        return await batcher.submit(2)

    assert asyncio.run(main()) == 4


def test_scoring_has_one_thread_because_backends_are_not_thread_safe():
    seen = set()

    def where(items):
        seen.add(threading.current_thread().name)
        return double(items)

    gather(MicroBatcher(where, max_rows=2), range(20))
    assert len(seen) == 1
    assert threading.current_thread().name not in seen
