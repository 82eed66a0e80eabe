"""Eq. 2 by hand, and which directions reach the prompt."""

import pytest

from persona_rm.backends.base import Backends
from persona_rm.errors import DataError
from persona_rm.inferrers.vote import VoteConfig, VoteInferrer
from persona_rm.prompts import load_prompts
from persona_rm.space import PreferenceSpace
from persona_rm.types import Persona, UserState
from tests.methods.method_samples import LetterLogProb, ask, make, persona, score


def test_reward_is_beta_times_the_log_ratio_on_the_described_directions(space: PreferenceSpace) -> None:
    backend = LetterLogProb()
    method = make("pba", space, Backends(logprob=backend))
    ann = persona(space)
    assert ann.directions is not None
    text = load_prompts().pba(space.describe(ann.directions), "the post")
    value = backend.one(text, "one")
    [[result]] = score(method, ask(method.adapt(ann), "one"))
    assert result.reward == pytest.approx(0.1 * (value.policy - (value.reference or 0)))
    assert result.status == "ok"
    assert text.count(space.dimensions[0].positive.label) == 1


def test_without_directions_an_inferrer_is_asked_for(space: PreferenceSpace) -> None:
    with pytest.raises(DataError, match=r"'ann' has no directions; run an inferrer first"):
        make("pba", space).adapt(persona(space).with_directions(None))


def test_inferred_directions_replace_earlier_ones(space: PreferenceSpace) -> None:
    method = make("pba", space)
    ann = persona(space)
    inferred = VoteInferrer(VoteConfig(), space).infer(ann).directions
    early = method.adapt(ann.with_directions((-1, *space.neutral[1:])))
    state = method.adapt(ann.with_directions(inferred), early)
    assert state.payload == {"directions": list(inferred)}
    assert state.version == 2


def test_all_neutral_is_the_prior(space: PreferenceSpace) -> None:
    method = make("pba", space)
    state = method.adapt(persona(space).with_directions(space.neutral))
    assert state.cold
    assert method.render(state, "x") == method.render(method.prior(), "x") == load_prompts().plain("x")
    assert score(method, ask(state, "one"))[0][0].status == "cold"


def test_golden_directions_without_items_are_not_cold(space: PreferenceSpace) -> None:
    state = make("pba", space).adapt(Persona("ann", directions=(1, *space.neutral[1:])))
    assert (state.cold, state.n_items) == (False, 1)


def test_no_persona_needs_no_directions(space: PreferenceSpace) -> None:
    method = make("pba", space, persona="none")
    assert method.adapt(Persona("ann")).payload == method.prior().payload


@pytest.mark.parametrize("directions", [None, [1, 0], [2] * 90, "x"])
def test_a_state_of_another_space_is_refused(space: PreferenceSpace, directions: object) -> None:
    with pytest.raises(DataError, match="needs 90 directions"):
        make("pba", space).render(UserState("pba", "ann", {"directions": directions}, 1), "x")
