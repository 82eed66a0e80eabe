"""The posterior of a user, and the question whose answer tells most."""

import numpy as np
import pytest

from persona_rm.errors import ScoreError
from persona_rm.methods.pref import PRef
from persona_rm.space import PreferenceSpace
from persona_rm.types import Pair, Persona
from tests.methods.test_personal import history, made, tastes


@pytest.fixture(scope="module")
def method(space: PreferenceSpace) -> PRef:
    fitted = made("pref", space, scale=1.0)
    fitted.fit(tastes())
    assert isinstance(fitted, PRef)
    return fitted


POOL = [Pair(f"prompt {i}", f"answer {i} a", f"answer {i} b") for i in range(60)]


def test_the_question_is_the_one_of_most_information(method: PRef) -> None:
    state = method.adapt(history("u2", tastes()))
    gains = method.information(state, POOL)
    assert gains.min() >= 0
    assert method.ask(state, POOL) == int(np.argmax(gains))
    swapped = [Pair(pair.prompt, pair.rejected, pair.chosen) for pair in POOL]
    assert method.information(state, swapped) == pytest.approx(gains)


def test_an_answer_leaves_less_to_ask(method: PRef) -> None:
    cold = method.information(method.prior(), POOL)
    first = method.ask(method.prior(), POOL)
    state = method.adapt(Persona("ann", pairs=(POOL[first],)))
    assert method.information(state, POOL)[first] < cold[first]
    assert method.information(method.adapt(history("u2", tastes())), POOL).sum() < cold.sum()


def test_equal_responses_tell_nothing_and_ties_keep_their_place(method: PRef) -> None:
    pool = [Pair("p", "x", "x"), Pair("p", "a", "b", strength=0), Pair("p", "b", "a")]
    gains = method.information(method.prior(), pool)
    assert gains[0] == 0
    assert gains[1] == pytest.approx(gains[2])
    assert gains[1] > 0
    assert method.information(method.prior(), pool[:1]).tolist() == [0.0]


def test_without_pairs_or_a_fit_there_is_nothing_to_ask(method: PRef, space: PreferenceSpace) -> None:
    with pytest.raises(ScoreError, match="was given no pairs"):
        method.ask(method.prior(), [])
    bare = made("pref", space)
    assert isinstance(bare, PRef)
    with pytest.raises(ScoreError, match="learned nothing yet"):
        bare.ask(bare.prior(), POOL)
