import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from persona_rm.bundle.group_scores import NORMALISE
from persona_rm.errors import Full, ScoreError
from persona_rm.serving.actor.group_buffer import GroupBuffer, Grouped
from persona_rm.serving.postprocess import GroupConfig

CALM = settings(deadline=None, max_examples=50, database=None)


class Scorer:
    """Gives each item (itself, everybody of its call), and remembers its calls."""

    def __init__(self, pause=0.0):
        self.calls, self.pause = [], pause

    async def __call__(self, items):
        self.calls.append(list(items))
        await asyncio.sleep(self.pause)
        return [(item, tuple(items)) for item in items]

    @property
    def seen(self):
        return [item for call in self.calls for item in call]


def run(main):
    return asyncio.run(asyncio.wait_for(main, 20))


def submit_all(buffer, rows):
    """rows: (key, size, item)."""

    async def main():
        return await asyncio.gather(*[buffer.submit(*row) for row in rows], return_exceptions=True)

    return run(main())


def test_a_group_is_scored_once_and_each_caller_gets_its_own():
    scorer = Scorer()
    answers = submit_all(GroupBuffer(scorer), [("a", 3, 0), ("b", 2, 10), ("a", 3, 1), ("a", 3, 2), ("b", 2, 11)])
    assert scorer.calls == [[0, 1, 2], [10, 11]]
    assert [answer.result[0] for answer in answers] == [0, 10, 1, 2, 11]
    assert all(answer.how == "whole" for answer in answers)
    assert answers[0].logs == {"persona_rm/group/partial": 0, "persona_rm/group/single": 0, "persona_rm/group/n": 3}


def test_items_beyond_the_size_make_the_next_group():
    scorer = Scorer()
    submit_all(GroupBuffer(scorer), [("a", 2, i) for i in range(6)])
    assert scorer.calls == [[0, 1], [2, 3], [4, 5]]


def test_a_group_of_one_does_not_wait():
    assert submit_all(GroupBuffer(Scorer(), wait=1000), [("a", 1, 7)])[0].result == (7, (7,))


def test_partial_scores_those_that_came_as_one_group():
    scorer = Scorer()
    answers = submit_all(GroupBuffer(scorer, wait=0.02, fallback="partial"), [("a", 4, i) for i in range(3)])
    assert scorer.calls == [[0, 1, 2]]
    assert [(a.how, a.n, a.logs["persona_rm/group/partial"]) for a in answers] == [("partial", 3, 1.0)] * 3


def test_single_scores_each_alone():
    scorer = Scorer()
    answers = submit_all(GroupBuffer(scorer, wait=0.02, fallback="single"), [("a", 4, i) for i in range(3)])
    assert sorted(scorer.calls) == [[0], [1], [2]]
    assert [(a.result[0], a.how, a.n) for a in answers] == [(0, "single", 1), (1, "single", 1), (2, "single", 1)]


@pytest.mark.parametrize(
    ("buffer", "words"),
    [(GroupBuffer(Scorer(), 0.02, "fail"), "3 of 4"), (GroupBuffer(Scorer(), 0.02, "partial", least=4), "3 of 4")],
)
def test_fail_and_a_partial_group_too_small_say_how_many_came(buffer, words):
    answers = submit_all(buffer, [("a", 4, i) for i in range(3)])
    assert all(a.kind == "group" and words in str(a) for a in answers)
    assert buffer.score_group.calls == []
    assert buffer.waiting == buffer.scoring == 0


def test_what_scoring_raises_reaches_every_caller_and_the_buffer_goes_on():
    async def broken(items):
        if "bad" in items:
            raise ScoreError("no", (0,))
        return items

    rows = [("a", 2, "good"), ("a", 2, "bad"), ("b", 2, 1), ("b", 2, 2)]
    answers = submit_all(GroupBuffer(broken), rows)
    assert [type(a) for a in answers] == [ScoreError, ScoreError, Grouped, Grouped]


def test_a_result_too_few_is_an_error_and_not_shifted():
    async def short(items):
        return items[:-1]

    assert all("gave 1 results" in str(a) for a in submit_all(GroupBuffer(short), [("a", 2, 0), ("a", 2, 1)]))


def test_scoring_that_is_cancelled_is_an_error_of_its_callers():
    async def cancelled(items):
        raise asyncio.CancelledError

    answers = submit_all(GroupBuffer(cancelled), [("a", 2, 0), ("a", 2, 1)])
    assert all(isinstance(a, ScoreError) and "cancelled" in str(a) for a in answers)


def test_another_size_under_a_waiting_key_and_no_size_are_refused():
    answers = submit_all(GroupBuffer(Scorer(), 0.02, "partial"), [("a", 2, 0), ("a", 3, 1), ("b", 0, 2)])
    assert isinstance(answers[0], Grouped)
    assert "group of 3" in str(answers[1])
    assert "at least one" in str(answers[2])


def test_too_many_groups_are_refused_and_room_comes_back():
    buffer = GroupBuffer(Scorer(), 0.02, "partial", max_groups=2)
    answers = submit_all(buffer, [(key, 2, key) for key in "abc"])
    assert "max_groups is 2" in str(answers[2])
    assert isinstance(answers[2], Full)
    assert isinstance(answers[0], Grouped)
    assert isinstance(submit_all(buffer, [("c", 2, 1), ("c", 2, 2)])[0], Grouped)


def test_groups_that_are_scored_count_too():
    async def main():
        buffer = GroupBuffer(Scorer(pause=0.05), max_groups=1)
        first = asyncio.create_task(buffer.submit("a", 1, 0))
        await asyncio.sleep(0.01)
        with pytest.raises(ScoreError, match="1 are scored"):
            await buffer.submit("b", 1, 0)
        return await first

    assert run(main()).result[0] == 0


@pytest.mark.parametrize("pause", [0.0, 0.01])
def test_closing_tells_those_who_wait_and_those_who_are_scored(pause):
    """Without a pause the scoring has not even begun."""

    async def main():
        buffer = GroupBuffer(Scorer(pause=1000), wait=1000)
        rows = [("a", 2, 0), ("a", 2, 1), ("b", 2, 2)]
        waiting = [asyncio.create_task(buffer.submit(*row)) for row in rows]
        await asyncio.sleep(pause)
        assert (buffer.waiting, buffer.scoring) == (1, 1)
        buffer.close()
        with pytest.raises(ScoreError, match="this group buffer is closed"):
            await buffer.submit("c", 1, 3)
        return await asyncio.gather(*waiting, return_exceptions=True), buffer.waiting, buffer.scoring

    answers, *left = run(main())
    assert [answer.kind for answer in answers] == ["down"] * 3
    assert left == [0, 0]


def test_a_cancelled_caller_leaves_and_another_takes_the_place():
    async def main():
        scorer = Scorer()
        buffer = GroupBuffer(scorer, wait=1000)
        gone, first = (asyncio.create_task(buffer.submit("a", 2, item)) for item in ("gone", "first"))
        gone.cancel()
        await asyncio.sleep(0)
        second = asyncio.create_task(buffer.submit("a", 2, "second"))
        answers = await asyncio.gather(gone, first, second, return_exceptions=True)
        return scorer.calls, [type(answer) for answer in answers], buffer.waiting

    assert run(main()) == ([["first", "second"]], [asyncio.CancelledError, Grouped, Grouped], 0)


def test_a_place_is_free_before_the_cancelled_caller_wakes():
    async def main():
        scorer = Scorer()
        buffer = GroupBuffer(scorer, wait=1000)
        gone = asyncio.create_task(buffer.submit("a", 2, "gone"))
        await asyncio.sleep(0)
        rest = [asyncio.create_task(buffer.submit("a", 2, item)) for item in (1, 2)]
        gone.cancel()  # wakes after the others have run
        return scorer.calls, len(await asyncio.gather(*rest))

    assert run(main()) == ([[1, 2]], 2)


@pytest.mark.parametrize("fallback", ["partial", "single"])
def test_the_time_limit_too_sees_who_left_before_they_wake(fallback):
    async def main():
        scorer = Scorer()
        buffer = GroupBuffer(scorer, 1000, fallback)
        gone, there = (asyncio.create_task(buffer.submit("a", 3, item)) for item in ("gone", "there"))
        await asyncio.sleep(0)
        gone.cancel()
        buffer._expire("a", buffer._open["a"])
        return scorer.calls, (await there).n

    assert run(main()) == ([["there"]], 1)


def test_a_group_whose_last_caller_left_is_gone_with_its_timer():
    async def main():
        buffer = GroupBuffer(Scorer(), wait=1000)
        tasks = [asyncio.create_task(buffer.submit("a", 3, i)) for i in range(2)]
        await asyncio.sleep(0)
        group = buffer._open["a"]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return buffer.waiting, group.timer.cancelled()

    assert run(main()) == (0, True)


def test_a_caller_that_leaves_while_its_group_is_scored_harms_nobody():
    async def main():
        buffer = GroupBuffer(Scorer(pause=0.03))
        tasks = [asyncio.create_task(buffer.submit("a", 2, i)) for i in range(2)]
        await asyncio.sleep(0.01)
        tasks[0].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    gone, there = run(main())
    assert isinstance(gone, asyncio.CancelledError)
    assert there.result == (1, (0, 1))


CALLS = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.sampled_from(["stay", "stay", "now", "soon"])), max_size=25
)


@CALM
@given(calls=CALLS, fallback=st.sampled_from(["partial", "single", "fail"]), size=st.integers(1, 4))
def test_every_caller_is_answered_once_whatever_the_order_the_cancellations_and_the_time(calls, fallback, size):
    """`ticks` is the pause before a call, `leave` when its caller goes; the time limit is hit by what is left over."""

    async def main():
        scorer = Scorer()
        buffer = GroupBuffer(scorer, wait=0.004, fallback=fallback)
        tasks = []
        for number, (key, ticks, leave) in enumerate(calls):
            for _ in range(ticks):
                await asyncio.sleep(0)
            tasks.append(asyncio.create_task(buffer.submit((key,), size, (key, number))))
            if leave != "stay":
                await asyncio.sleep(0.001 * (leave == "soon"))
                tasks[-1].cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        return scorer, answers, buffer.waiting, buffer.scoring

    scorer, answers, waiting, scoring = run(main())
    assert (waiting, scoring) == (0, 0)
    assert len(scorer.seen) == len(set(scorer.seen))
    for call in scorer.calls:
        assert len({key for key, _ in call}) == 1
        assert len(call) <= size
    for number, ((key, _, leave), answer) in enumerate(zip(calls, answers, strict=True)):
        if isinstance(answer, Grouped):
            assert answer.result[0] == (key, number)
            assert len(answer.result[1]) == answer.n
            assert answer.how == "whole" if answer.n == size else answer.how == fallback
        else:
            cancelled = isinstance(answer, asyncio.CancelledError)
            assert (cancelled and leave != "stay") or (isinstance(answer, ScoreError) and fallback == "fail")


def test_a_normaliser_composes_with_the_buffer():
    async def score(rewards):
        return NORMALISE["ranked"](rewards)

    answers = submit_all(
        GroupBuffer.of(GroupConfig(size=3, normalise="ranked"), score), [("a", 3, r) for r in (5, 1, 2)]
    )
    assert [answer.result for answer in answers] == [1, -1, 0]


def test_a_group_config_refuses_what_would_be_a_made_up_number():
    assert GroupConfig(size=4, fallback="single").least == 1
    assert GroupConfig(size=4, normalise="centred", fallback="partial").least == 2
    for keys in ({"normalise": "ranked"}, {"listwise": True}):
        with pytest.raises(ValidationError, match="alone"):
            GroupConfig(size=4, fallback="single", **keys)
    with pytest.raises(ValidationError):
        GroupConfig(size=1)
