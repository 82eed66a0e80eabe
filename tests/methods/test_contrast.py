"""What the person changes under one model."""

import pytest

from persona_rm.backends.base import Backends
from persona_rm.errors import ScoreError
from persona_rm.prompts import load_prompts
from persona_rm.space import PreferenceSpace
from tests.methods.method_samples import FAULT, LetterLogProb, ask, make, persona, rewards, score


@pytest.mark.parametrize("persona_as", ["ica", "pba"])
def test_the_difference_of_two_prompts_without_a_reference(space: PreferenceSpace, persona_as: str) -> None:
    backend = LetterLogProb(reference=False)
    method = make("contrast", space, Backends(logprob=backend), persona_as=persona_as, beta=2.0)
    state = method.adapt(persona(space))
    [[reward]] = rewards(method, ask(state, "one"))
    given, plain = (
        backend.one(text, "one") for text in (method.render(state, "the post"), load_prompts().plain("the post"))
    )
    assert reward == pytest.approx(2 * (given.policy - plain.policy))
    assert [len(call) for call in backend.calls] == [2]


@pytest.mark.parametrize("persona_as", ["ica", "pba"])
def test_renders_as_its_sibling_does(space: PreferenceSpace, persona_as: str) -> None:
    ann, sibling = persona(space), make(persona_as, space)
    method = make("contrast", space, persona_as=persona_as)
    assert method.render(method.adapt(ann), "x") == sibling.render(sibling.adapt(ann), "x")


def test_an_unknown_user_gets_exactly_zero(space: PreferenceSpace) -> None:
    method = make("contrast", space)
    [results] = score(method, ask(method.prior(), "one", "two words"))
    assert [result.reward for result in results] == [0.0, 0.0]
    assert {result.status for result in results} == {"cold"}


def test_per_token(space: PreferenceSpace) -> None:
    sums, means = (make("contrast", space, normalise=mode) for mode in ("sum", "token"))
    state = sums.adapt(persona(space))
    [[a]], [[b]] = (rewards(method, ask(state, "a b c")) for method in (sums, means))
    assert b == pytest.approx(a / 4)


def test_a_backends_rows_become_requests(space: PreferenceSpace) -> None:
    class Strict(LetterLogProb):
        def logprob(self, prompts, responses):  # type: ignore[no-untyped-def]
            if bad := tuple(i for i, text in enumerate(responses) if FAULT in text):
                raise ScoreError("too long", bad)
            return super().logprob(prompts, responses)

    method = make("contrast", space, Backends(logprob=Strict()))
    state = method.adapt(persona(space))
    with pytest.raises(ScoreError, match="too long") as caught:
        score(method, ask(state, "a", "b"), ask(state), ask(state, "c", FAULT), ask(state, FAULT))
    assert caught.value.rows == (3, 4)


def test_a_backend_that_loses_rows_is_caught(space: PreferenceSpace) -> None:
    class Short(LetterLogProb):
        def logprob(self, prompts, responses):  # type: ignore[no-untyped-def]
            return super().logprob(prompts, responses)[:-1]

    method = make("contrast", space, Backends(logprob=Short()))
    with pytest.raises(ScoreError, match="1 values for 2"):
        score(method, ask(method.prior(), "a"))
