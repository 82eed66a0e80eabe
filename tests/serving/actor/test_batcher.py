import asyncio
import threading
import time

import pytest

from persona_rm.errors import ScoreError
from persona_rm.serving.actor.batcher import MicroBatcher
from tests.serving.actor.batcher_samples import Gate, double, ends, gather, run, tasks


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
    assert all(isinstance(r, ScoreError) and "3 rows gave 4 results" in str(r) for r in results)


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


def test_a_full_budget_does_not_wait():
    batcher = MicroBatcher(double, max_wait=60, cost=lambda item: item, max_cost=10)
    assert gather(batcher, [4, 6]) == [8, 12]


def test_rows_of_a_prompt_travel_together():
    gate = Gate()
    gate.open.set()
    batcher = MicroBatcher(gate, max_rows=4, group=lambda item: item % 3)
    gather(batcher, range(12))
    assert gate.calls == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]


def test_equal_requests_that_wait_are_computed_once():
    gate = Gate()
    gate.open.set()
    batcher = MicroBatcher(gate)
    assert gather(batcher, [1, 2, 1, 1, 2]) == [2, 4, 2, 2, 4]
    assert gate.calls == [[1, 2]]
    assert (batcher.counts["shared"], batcher.counts["scored"]) == (3, 2)


def test_equal_requests_share_an_error():
    def never(items):
        raise ValueError(len(items))

    results = gather(MicroBatcher(never), [1, 1])
    assert [str(r) for r in results] == ["1", "1"]


@pytest.mark.parametrize(("same", "sizes"), [(None, [3]), (lambda item: item[0], [2])], ids=["never", "own key"])
def test_what_counts_as_equal_can_be_said(same, sizes):
    batcher = MicroBatcher(lambda items: [item[0] for item in items], same=same)
    assert gather(batcher, [("a", 1), ("a", 2), ("b", 1)]) == ["a", "a", "b"]
    assert batcher.sizes == sizes


def test_items_without_a_hash_are_never_equal():
    batcher = MicroBatcher(lambda items: [item[0] for item in items])
    assert gather(batcher, [[1], [1]]) == [1, 1]
    assert batcher.sizes == [2]


def test_rows_that_an_error_names_fail_and_the_others_are_scored_together():
    calls = []

    def picky(items):
        calls.append(list(items))
        if bad := [i for i, item in enumerate(items) if item in (2, 5)]:
            raise ScoreError("not finite", tuple(bad))
        return double(items)

    results = gather(MicroBatcher(picky), range(6))
    assert calls == [[0, 1, 2, 3, 4, 5], [0, 1, 3, 4]]
    assert [r for r in results if not isinstance(r, Exception)] == [0, 2, 6, 8]
    assert [str(results[i]) for i in (2, 5)] == ["not finite"] * 2


@pytest.mark.parametrize("rows", [(), (9,), (-1,)])
def test_an_error_that_names_no_row_of_the_batch_halves_it(rows):
    calls = []

    def picky(items):
        calls.append(list(items))
        if 5 in items:
            raise ScoreError("five", rows)
        return double(items)

    results = gather(MicroBatcher(picky), range(8))
    assert calls == [[*range(8)], [0, 1, 2, 3], [4, 5, 6, 7], [4, 5], [4], [5], [6, 7]]
    assert [i for i, r in enumerate(results) if isinstance(r, ScoreError)] == [5]


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), StopIteration(), asyncio.CancelledError()])
def test_what_would_end_more_than_a_call_is_told_as_an_error(error):
    def leave(items):
        raise error

    (result,) = gather(MicroBatcher(leave), [1])
    assert isinstance(result, ScoreError)
    assert type(error).__name__ in str(result)
    assert result.__cause__ is error


def test_a_cost_that_cannot_be_told_is_the_callers_own_error():
    batcher = MicroBatcher(double, cost=len, max_cost=3)
    results = gather(batcher, [1, 2])
    assert all(isinstance(r, TypeError) for r in results)
    assert batcher.counts["submitted"] == 0


def test_a_batch_closes_by_its_token_budget_and_a_costly_item_goes_alone():
    batcher = MicroBatcher(double, max_rows=8, max_wait=0.01, cost=lambda item: item, max_cost=10)
    assert gather(batcher, [4, 5, 3, 50, 2, 1]) == [8, 10, 6, 100, 4, 2]
    assert batcher.sizes == [2, 1, 1, 2]


def test_a_row_that_comes_later_overtakes_those_of_other_prompts():
    gate = Gate()
    batcher = MicroBatcher(gate, max_rows=2, max_wait=0, group=lambda item: item[0])

    async def main():
        first = tasks(batcher, ["x0"])
        await gate.entered()
        rest = tasks(batcher, ["a0", "b0", "a1"])
        await asyncio.sleep(0)
        gate.open.set()
        await ends(*first, *rest)

    run(main())
    assert gate.calls == [["x0"], ["a0", "a1"], ["b0"]]


def test_an_equal_request_joins_one_that_is_scored_and_a_later_one_does_not():
    gate = Gate()
    batcher = MicroBatcher(gate, max_wait=0)

    async def main():
        first = tasks(batcher, [1])
        await gate.entered()
        second = tasks(batcher, [1])
        await asyncio.sleep(0)
        gate.open.set()
        assert await ends(*first, *second) == [2, 2]
        assert len(gate.calls) == 1
        await batcher.submit(1)

    run(main())
    assert len(gate.calls) == 2
