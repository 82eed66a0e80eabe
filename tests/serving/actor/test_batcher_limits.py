"""Whose turn it is, room in the queue, deadlines, callers that leave, and the end."""

import asyncio

import pytest

from persona_rm.errors import ScoreError
from persona_rm.serving.actor.batcher import Full, Late, MicroBatcher
from tests.serving.actor.batcher_samples import Gate, double, ends, run, tasks


def test_who_floods_does_not_starve_another():
    gate = Gate()
    batcher = MicroBatcher(gate, max_rows=4, max_wait=0)

    async def main():
        flood = tasks(batcher, range(1000), caller="flood")
        await gate.entered()
        few = tasks(batcher, [-1, -2, -3], caller="few")
        gate.open.set()
        await ends(*few)
        seen = len(gate.calls)
        await ends(*flood)
        return seen

    assert run(main()) <= 4
    assert gate.calls[1] == [4, -1, 5, -2]
    assert len(gate.calls) > 200


def test_who_shares_a_row_of_a_flood_gets_it_at_the_own_turn():
    gate = Gate()
    batcher = MicroBatcher(gate, max_rows=2, max_wait=0)

    async def main():
        flood = tasks(batcher, range(100), caller="flood")
        await gate.entered()
        few = tasks(batcher, [99], caller="few")
        await asyncio.sleep(0)
        gate.open.set()
        await ends(*few, *flood)

    run(main())
    assert gate.calls[1] == [2, 99]
    assert sum(calls.count(99) for calls in gate.calls) == 1


def test_a_full_queue_makes_callers_wait_and_takes_turns_outside():
    gate = Gate()
    batcher = MicroBatcher(gate, max_rows=1, max_wait=0, limit=2)

    async def main():
        flood = tasks(batcher, range(10), caller="flood")
        await gate.entered()
        few = tasks(batcher, [99], caller="few")
        await asyncio.sleep(0)
        assert (batcher.waiting, batcher.outside) == (2, 8)
        gate.open.set()
        assert await ends(*flood, *few) == [*range(0, 20, 2), 198]

    run(main())
    assert [99] in gate.calls[:5]


def test_who_does_not_want_to_wait_for_room_is_told():
    gate = Gate()
    batcher = MicroBatcher(gate, max_rows=1, max_wait=0, limit=2)

    async def main():
        first = tasks(batcher, range(3))
        await gate.entered()
        await asyncio.sleep(0)
        with pytest.raises(Full, match="2 rows wait and the limit is 2"):
            await batcher.submit(7, wait=False)
        equal = tasks(batcher, [1], wait=False)
        await asyncio.sleep(0)
        gate.open.set()
        return await ends(*first, *equal)

    assert run(main()) == [0, 2, 4, 2]
    assert (batcher.counts["full"], batcher.counts["submitted"]) == (1, 4)


def test_a_late_row_is_not_scored_and_says_how_long_and_how_many():
    gate = Gate()
    batcher = MicroBatcher(gate, max_wait=0, limit=2)

    async def main():
        first = tasks(batcher, [1])
        await gate.entered()
        late = tasks(batcher, [2, 3, 4], deadline=0.02)
        found = await ends(*late)
        gate.open.set()
        assert await first[0] == 2
        return found

    found = run(main())
    assert all(isinstance(error, Late) for error in found)
    assert str(found[0]) == "no result within 0.02 s: the deadline passed before it was scored; 3 rows were waiting"
    assert gate.calls == [[1]]
    assert batcher.counts["late"] == 3


def test_a_late_result_is_discarded_and_the_next_is_right():
    gate = Gate()
    batcher = MicroBatcher(gate, max_wait=0, deadline=0.02)

    async def main():
        with pytest.raises(Late, match="while it was scored; 0 rows"):
            await batcher.submit(1)
        gate.open.set()
        return await batcher.submit(2, deadline=10)

    assert run(main()) == 4
    assert gate.calls == [[1], [2]]


@pytest.mark.parametrize("deadline", [0, -1, float("nan")])
def test_a_deadline_that_is_over_is_late_at_once(deadline):
    batcher = MicroBatcher(double, max_wait=0)

    async def main():
        with pytest.raises(Late):
            await batcher.submit(1, deadline=deadline)

    run(main())
    assert batcher.sizes == []


def test_rows_that_were_left_are_not_scored():
    gate = Gate()
    batcher = MicroBatcher(gate, max_wait=0)

    async def main():
        first = tasks(batcher, [1])
        await gate.entered()
        gone, stays = tasks(batcher, [2, 3]), tasks(batcher, [3])
        await asyncio.sleep(0)
        for task in gone:
            task.cancel()
        gate.open.set()
        assert await ends(*first, *stays) == [2, 6]

    run(main())
    assert gate.calls == [[1], [3]]
    assert batcher.counts["left"] == 2


def test_it_says_how_long_a_call_runs_and_how_many_wait():
    gate = Gate()
    batcher = MicroBatcher(gate, max_wait=0)

    async def main():
        assert (batcher.stuck, batcher.waiting) == (0, 0)
        calls = tasks(batcher, [1])
        await gate.entered()
        calls += tasks(batcher, [2, 3])
        await asyncio.sleep(0.02)
        assert batcher.stuck >= 0.02
        assert batcher.waiting == 2
        gate.open.set()
        await ends(*calls)

    run(main())
    assert (batcher.stuck, batcher.waiting) == (0, 0)
    assert batcher.counts == {
        "submitted": 3, "scored": 3, "shared": 0, "late": 0, "left": 0, "failed": 0, "full": 0, "batches": 2,
    }  # fmt: skip


def test_close_answers_everybody_and_later_callers():
    gate = Gate()
    batcher = MicroBatcher(gate, max_rows=1, max_wait=0, limit=1)

    async def main():
        calls = tasks(batcher, range(4))
        await gate.entered()
        batcher.close()
        found = await ends(*calls, batcher.submit(9))
        gate.open.set()
        return found

    found = run(main())
    assert [str(error) for error in found[:4]] == ["the batcher was closed before this was scored"] * 4
    assert str(found[4]) == "this batcher is closed: make another"


def test_it_survives_that_every_task_is_cancelled():
    gate = Gate()
    batcher = MicroBatcher(gate, max_wait=0)

    async def main():
        calls = tasks(batcher, range(3))
        await gate.entered()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await ends(*calls)
        gate.open.set()
        return await batcher.submit(5)

    assert asyncio.run(main()) == 10


def test_a_second_event_loop_is_refused_while_the_first_is_open():
    batcher = MicroBatcher(double)

    async def main():
        await batcher.submit(1)
        with pytest.raises(ScoreError, match="belongs to another event loop"):
            await asyncio.to_thread(asyncio.run, batcher.submit(2))
        return await batcher.submit(3)

    assert run(main()) == 6


def test_it_may_go_to_another_loop_when_its_own_is_closed_in_the_middle_of_a_call():
    gate = Gate()
    batcher = MicroBatcher(gate, max_wait=0)

    async def leave():
        tasks(batcher, [1, 2])
        await gate.entered()

    async def come():
        calls = tasks(batcher, [1, 2])
        await asyncio.sleep(0.01)
        gate.open.set()
        return await ends(*calls)

    asyncio.run(leave())
    assert run(come()) == [2, 4]
    assert (batcher.waiting, batcher._running) == (0, [])


@pytest.mark.parametrize("bad", [{"max_rows": 0}, {"limit": 0}, {"max_cost": 0}])
def test_a_batcher_that_could_never_score_is_refused(bad):
    with pytest.raises(ValueError, match="must be 1 or more"):
        MicroBatcher(double, **bad)


def test_it_runs_on_the_event_loop_that_ray_gives_its_actors():
    """uvloop's timers do not tell when they ring."""
    uvloop = pytest.importorskip("uvloop")

    async def main():
        batcher = MicroBatcher(lambda items: [2 * item for item in items], 8, 0.01)
        return await asyncio.gather(*[batcher.submit(i) for i in range(20)]), batcher.sizes

    loop = uvloop.new_event_loop()
    try:
        results, sizes = loop.run_until_complete(asyncio.wait_for(main(), 20))
    finally:
        loop.close()
    assert results == [2 * i for i in range(20)]
    assert sizes == [8, 8, 4]
