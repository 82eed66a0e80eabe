"""Directions times intensities, by hand."""

from collections.abc import Sequence

import pytest
from pydantic import ValidationError

from persona_rm.backends.base import Backends
from persona_rm.errors import DataError, ScoreError
from persona_rm.space import PreferenceSpace
from persona_rm.types import Levels, Persona
from tests.methods.method_samples import LetterReader, ask, make, persona, rewards, score


class Told:
    """Says the levels it was told, in order of first asking."""

    def __init__(self, *levels: Levels) -> None:
        self.told = list(levels)

    def levels(self, prompts: Sequence[str], texts: Sequence[str]) -> list[Levels]:
        return self.told[: len(texts)]


def full(space: PreferenceSpace, *starts: int, rest: int) -> tuple[int, ...]:
    return (*starts, *(rest,) * (len(space) - len(starts)))


def test_the_sum_and_its_terms(space: PreferenceSpace) -> None:
    reader = Told(full(space, 3, 3, 1, rest=3), full(space, 1, 2, 3, rest=1))
    method = make("pba_linear", space, Backends(reader=reader), scale=0.5, weights={space.ids[1]: 4.0})
    state = method.adapt(Persona("ann", directions=full(space, 1, -1, 0, rest=0)))
    [[a, b]] = score(method, ask(state, "a", "b"))
    assert a.trace.parts == {space.ids[0]: 0.5, space.ids[1]: -2.0}
    assert b.trace.parts == {space.ids[0]: -0.5, space.ids[1]: 0.0}
    assert (a.reward, b.reward) == (a.trace.raw, b.trace.raw) == (-1.5, -0.5)


def test_opposite_users_get_opposite_rewards(space: PreferenceSpace) -> None:
    method = make("pba_linear", space)
    ann, bob = (method.adapt(persona(space, user, sign)) for user, sign in (("ann", 1), ("bob", -1)))
    a, b = rewards(method, ask(ann, "one", "two words"), ask(bob, "one", "two words"))
    assert a == tuple(-value for value in b)
    assert any(a)


def test_an_unknown_user_gets_zero(space: PreferenceSpace) -> None:
    method = make("pba_linear", space)
    [[result]] = score(method, ask(method.prior(), "one"))
    assert (result.reward, result.status, result.trace.parts) == (0.0, "cold", {})


def test_the_same_text_is_read_once(space: PreferenceSpace) -> None:
    reader = LetterReader(space)
    method = make("pba_linear", space, Backends(reader=reader))
    ann, bob = (method.adapt(persona(space, user)) for user in ("ann", "bob"))
    score(method, ask(ann, "one", "two", "one"), ask(bob, "one"), ask(bob, "one", prompt="else"))
    assert reader.asked == [("the post", "one"), ("the post", "two"), ("else", "one")]


@pytest.mark.parametrize("levels", [(1, 2), (0,) * 90, (4,) * 90])
def test_odd_levels_are_refused(space: PreferenceSpace, levels: Levels) -> None:
    method = make("pba_linear", space, Backends(reader=Told((2,) * len(space), levels)))
    with pytest.raises(ScoreError, match="90 levels of 1, 2 or 3") as caught:
        score(method, ask(method.prior(), "fine"), ask(method.prior(), "odd"))
    assert caught.value.rows == (1,)


def test_an_annotator_that_loses_texts_is_caught(space: PreferenceSpace) -> None:
    method = make("pba_linear", space, Backends(reader=Told((2,) * len(space))))
    with pytest.raises(ScoreError, match="1 of 2"):
        score(method, ask(method.prior(), "a", "b"))


def test_weights_name_dimensions(space: PreferenceSpace) -> None:
    method = make("pba_linear", space, weights={"nonsense": 1.0})
    with pytest.raises(DataError, match="nonsense"):
        score(method, ask(method.prior(), "a"))
    with pytest.raises(ValidationError):
        make("pba_linear", space, persona="mine")


def test_directions_are_needed(space: PreferenceSpace) -> None:
    with pytest.raises(DataError, match="run an inferrer"):
        make("pba_linear", space).adapt(Persona("ann"))


def test_a_neutral_level_gives_zero_without_a_sign(space: PreferenceSpace) -> None:
    method = make("pba_linear", space, Backends(reader=Told((2,) * len(space))))
    state = method.adapt(Persona("ann", directions=(-1,) * len(space)))
    [[result]] = score(method, ask(state, "says nothing"))
    assert {str(value) for value in (result.reward, *result.trace.parts.values())} == {"0.0"}
