"""Answers beside items: what a tally keeps of them, and what the posterior makes of both."""

import json
import re
from dataclasses import replace
from itertools import permutations

import numpy as np
import pytest

from persona_rm.errors import DataError
from persona_rm.inferrers.stored_answers import Belief, hear
from persona_rm.inferrers.tally import Tally
from persona_rm.types import UserState
from tests.inferrers.inferrer_samples import item, known_model, make, toy_space

SIZE = 6
ANSWERS = {"q1": ((2, 0, -1, 0, 0, 0), 2), "q2": ((0, 1, 1, 0, 0, 0), -1), "q3": ((0, 0, 0, -2, 0, 0), -2)}
ITEMS = [item("a", 1, -1), item("b", 1, 0, 1, source="pair")]


@pytest.fixture(scope="module")
def inferrer():
    """With a known model of two classes, and a calibration that is not nothing."""
    found = make("posterior", toy_space(SIZE), weights={"ugc": 1.0, "pair": 1.0}, gain=1.0, claim=1.0, wrong=2.0)
    model = known_model(2)
    tables = np.concatenate([model.tables, model.tables[1:]])
    found.model = replace(model, sources=found.sources, tables=tables)
    found.calibration = replace(found.calibration, temperature=1.5)
    return found


def told(inferrer, items=ITEMS, answers=ANSWERS):
    found = inferrer.empty()
    found.add(items)
    for question, (difference, grade) in answers.items():
        found.hear(question, difference, grade)
    return found


def test_the_posterior_of_items_and_answers_is_items_then_answers_then_calibration(inferrer):
    weights, directions = inferrer.model.posterior(inferrer.evidence(told(inferrer, answers={}).counts))
    belief = Belief(weights[0], directions[0])
    for difference, grade in ANSWERS.values():
        belief = hear(belief, np.array(difference), grade, inferrer.perception)
    found = inferrer.of(told(inferrer))
    np.testing.assert_allclose(found.probabilities, inferrer.calibration(belief.marginals), rtol=1e-9)
    without = np.array(inferrer.of(told(inferrer, answers={})).probabilities)
    assert np.abs(np.array(found.probabilities) - without).max() > 0.2


def test_without_answers_both_ways_of_computing_agree(inferrer):
    plain = told(inferrer, answers={})
    found = inferrer.calibration(inferrer.belief(plain).marginals)
    np.testing.assert_allclose(inferrer.of(plain).probabilities, found, rtol=1e-9)


def test_the_order_in_which_answers_arrive_changes_nothing(inferrer):
    found = [inferrer.of(told(inferrer, answers=dict(order)), explain=True) for order in permutations(ANSWERS.items())]
    assert all(each == found[0] for each in found)


def test_answers_before_items_are_answers_after_them(inferrer):
    late = told(inferrer, items=[])
    late.add(ITEMS)
    assert inferrer.of(late, explain=True) == inferrer.of(told(inferrer), explain=True)


def test_a_question_answered_again_counts_once_and_the_last_answer_holds(inferrer):
    changed = told(inferrer)
    changed.hear("q1", ANSWERS["q1"][0], -2)
    again = told(inferrer, answers={**ANSWERS, "q1": (ANSWERS["q1"][0], -2)})
    assert len(changed) == len(again) == 5
    assert inferrer.of(changed) == inferrer.of(again)
    assert inferrer.of(changed).directions[0] != inferrer.of(told(inferrer)).directions[0]


def test_a_forgotten_answer_leaves_no_trace(inferrer):
    for gone in ANSWERS:
        forgotten = told(inferrer)
        forgotten.forget([gone])
        never = told(inferrer, answers={key: value for key, value in ANSWERS.items() if key != gone})
        assert forgotten.to_payload() == never.to_payload()
        assert inferrer.of(forgotten, explain=True) == inferrer.of(never, explain=True)
        with pytest.raises(DataError, match=rf"no item '{gone}' here \(4 items\)"):
            forgotten.forget([gone])


def test_items_are_forgotten_and_answers_stay(inferrer):
    forgotten = told(inferrer)
    forgotten.forget(["a", "b"])
    assert inferrer.of(forgotten) == inferrer.of(told(inferrer, items=[]))


def test_answers_survive_a_state(inferrer):
    kept = told(inferrer)
    state = UserState.from_json(inferrer.state("ann", kept).to_json())
    assert state.n_items == 5
    back = inferrer.resume(state)
    assert (back.answers, back.entries) == (kept.answers, kept.entries)
    assert inferrer.of(back, explain=True) == inferrer.of(kept, explain=True)


def test_who_only_answered_is_not_a_stranger(inferrer):
    found = inferrer.of(told(inferrer, items=[]))
    assert not found.cold
    assert found.n_items == 3


def test_answers_that_agree_are_named_as_evidence(inferrer):
    """Whatever text came first, and never an answer for the other pole, or one of indifference."""
    for sign in (-1, 1):
        answers = {
            "for": ((2 * sign, 0, 0, 0, 0, 0), 2), "turned": ((-sign, 0, 0, 0, 0, 0), -1),
            "mild": ((sign, 0, 0, 0, 0, 0), 1), "against": ((-sign, 0, 0, 0, 0, 0), 1),
            "same": ((sign, 0, 0, 0, 0, 0), 0), "elsewhere": ((0, 1, 0, 0, 0, 0), 2),
        }  # fmt: skip
        items = [item("agrees", sign), item("disagrees", -sign)]
        found = inferrer.of(told(inferrer, [*items, item("more", sign)], answers), explain=True)
        assert found.directions[0] == sign
        assert set(found.evidence[0]) == {"for", "turned", "mild", "agrees", "more"}
        assert found.evidence[0].index("for") < found.evidence[0].index("mild")


def test_an_answer_about_another_space_is_refused():
    found = Tally(SIZE, ("other",))
    with pytest.raises(DataError, match=r"question q has 7 dimensions, this tally 6"):
        found.hear("q", (1,) * 7, 2)
    assert len(found) == 0


@pytest.mark.parametrize("grade", [7, -3, None, "2", 1.0, True])
def test_a_tally_keeps_no_grade_that_cannot_be_read(grade):
    found = Tally(SIZE, ("other",))
    with pytest.raises(DataError, match=r"question q needs integers.*a grade of \[-2, -1, 0, 1, 2\].*found \[.*, \[0"):
        found.hear("q", ANSWERS["q1"][0], grade)
    assert len(found) == 0


@pytest.mark.parametrize("first", [3, 0.5, "2"])
def test_a_tally_keeps_no_difference_that_two_texts_cannot_have(first):
    found = Tally(SIZE, ("other",))
    with pytest.raises(DataError, match=r"question q needs .*for each one of \[-2, -1, 1, 2\]; found"):
        found.hear("q", (first, *[0] * (SIZE - 1)), 2)
    assert len(found) == 0


def test_a_difference_may_be_an_array():
    found = Tally(SIZE, ("other",))
    found.hear("q", np.array(ANSWERS["q1"][0]), 2)
    assert found.answers["q"] == told(make("posterior", toy_space(SIZE))).answers["q1"]
    assert json.loads(json.dumps(found.to_payload()))["answers"] == {"q": [2, [0, 2], [2, -1]]}


def resumed_with(inferrer, answers):
    state = inferrer.state("ann", told(inferrer))
    return inferrer.resume(replace(state, payload={**state.payload, "answers": answers}))


@pytest.mark.parametrize("answers", [None, [], 3])
def test_a_state_without_answers_by_question_is_refused(inferrer, answers):
    with pytest.raises(DataError, match=r"'ann' does not hold a tally's items"):
        resumed_with(inferrer, answers)


BROKEN = {
    "no list": 1, "a text": "abc", "too short": [1, [0]], "a word": ["much", [0], [2]], "a high grade": [7, [0], [2]],
    "a float grade": [1.0, [0], [2]], "a truth": [True, [0], [2]], "dimension 9": [2, [9], [2]],
    "dimension -1": [2, [-1], [2]], "a float dimension": [2, [0.0], [2]], "a dimension twice": [2, [0, 0], [1, 1]],
    "two of one": [2, [0], [2, 1]], "none of one": [2, [0], []], "too many levels": [2, [0], [3]],
    "no level": [2, [0], [0]], "a float level": [2, [0], [1.0]], "half a level": [2, [0], [0.5]],
}  # fmt: skip


@pytest.mark.parametrize("wrong", BROKEN.values(), ids=BROKEN)
def test_a_state_with_a_broken_answer_is_refused(inferrer, wrong):
    """Naming user, answer, what belongs there and what was found."""
    asked = r"'ann', answers\['q'\] needs integers, \[grade, dimensions, levels\]: .*of 0 \.\. 5, .*; found "
    with pytest.raises(DataError, match=asked + re.escape(repr(wrong))):
        resumed_with(inferrer, {"fine": [2, [0, 5], [2, -1]], "q": wrong})
