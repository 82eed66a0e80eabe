"""Eq. 1 by hand, and what stands in the prompt."""

import pytest

from persona_rm.backends.base import Backends
from persona_rm.errors import DataError, RecipeError
from persona_rm.prompts import ChatTemplate, load_prompts
from persona_rm.space import PreferenceSpace
from persona_rm.types import Persona, UserState
from tests.methods.method_samples import LetterEncoder, LetterLogProb, ask, make, persona, rewards, score
from tests.prompts.chat_samples import chat_tokenizer


def test_reward_is_beta_times_the_log_ratio(space: PreferenceSpace) -> None:
    backend = LetterLogProb()
    method = make("ica", space, Backends(logprob=backend), beta=0.25)
    state = method.adapt(persona(space))
    [given] = rewards(method, ask(state, "one", "two words"))
    for reward, response in zip(given, ("one", "two words"), strict=True):
        value = backend.one(method.render(state, "the post"), response)
        assert reward == pytest.approx(0.25 * (value.policy - (value.reference or 0)))


def test_per_token_divides_by_the_response(space: PreferenceSpace) -> None:
    sums, means = (make("ica", space, normalise=mode) for mode in ("sum", "token"))
    state = sums.adapt(persona(space))
    [[a]], [[b]] = (rewards(method, ask(state, "a b c d")) for method in (sums, means))
    assert b == pytest.approx(a / 5)


def test_the_published_setting_is_the_default(space: PreferenceSpace) -> None:
    config = make("ica", space).config
    assert (config.beta, config.normalise, config.prompts, config.n_ugc, config.n_pairs) == (
        0.1,
        "sum",
        "released",
        4,
        4,
    )


def test_render_is_the_format_on_the_kept_items(space: PreferenceSpace) -> None:
    ann = persona(space)
    method = make("ica", space, n_ugc=2, n_pairs=1, demo=False, prompts="paper")
    shown = Persona("ann", ann.ugc[:2], ann.pairs[:1])
    assert method.render(method.adapt(ann), "the post") == load_prompts("paper").ica(shown, "the post")
    last = make("ica", space, n_ugc=2, n_pairs=0, keep="last", chat="llama3")
    shown = Persona("ann", ann.ugc[1:], (), ann.demo)
    assert last.render(last.adapt(ann), "the post") == load_prompts("released", "llama3").ica(shown, "the post")


def test_all_prompts_of_a_batch_go_in_one_call(space: PreferenceSpace) -> None:
    backend = LetterLogProb()
    method = make("ica", space, Backends(logprob=backend))
    state = method.adapt(persona(space))
    score(method, ask(state, "a", "b"), ask(method.prior(), "c"))
    assert [len(call) for call in backend.calls] == [3]


def test_no_persona_is_the_plain_prompt_and_keeps_nothing(space: PreferenceSpace) -> None:
    method = make("ica", space, persona="none")
    state = method.adapt(persona(space))
    assert state.payload == {}
    assert state.cold
    assert method.render(state, "x") == make("ica", space).render(method.prior(), "x") == load_prompts().plain("x")


def test_adapting_in_steps_equals_adapting_at_once(space: PreferenceSpace) -> None:
    ann = persona(space)
    for keep in ("first", "last"):
        method = make("ica", space, n_ugc=2, n_pairs=2, keep=keep)
        early = method.adapt(Persona("ann", ann.ugc[:2], ann.pairs[:1]))
        state = method.adapt(Persona("ann", ann.ugc[2:], ann.pairs[1:], ann.demo), early)
        assert state.payload == method.adapt(ann).payload
        assert state.n_items == 5


def test_a_demo_alone_is_evidence(space: PreferenceSpace) -> None:
    method = make("ica", space)
    state = method.adapt(Persona("ann", demo="A young executive."))
    assert not state.cold
    assert "A young executive." in method.render(state, "x")
    assert make("ica", space, demo=False).adapt(Persona("ann", demo="A young executive.")).cold


def test_items_hold_no_directions(space: PreferenceSpace) -> None:
    state = make("ica", space).adapt(persona(space))
    assert set(state.payload["ugc"][0]) == {"prompt", "comment"}
    assert set(state.payload["pairs"][0]) == {"prompt", "chosen", "rejected"}


def test_a_payload_that_is_not_ours_is_refused(space: PreferenceSpace) -> None:
    with pytest.raises(DataError, match="'ann'"):
        make("ica", space).render(UserState("ica", "ann", {"ugc": [{"text": "x"}]}, 1), "x")


def test_without_a_reference_model(space: PreferenceSpace) -> None:
    method = make("ica", space, Backends(LetterEncoder(), LetterLogProb(reference=False)))
    with pytest.raises(RecipeError, match="no reference"):
        score(method, ask(method.prior(), "one"))


def test_the_tokenizers_own_chat_template(space: PreferenceSpace) -> None:
    tokenizer = chat_tokenizer("llama3")
    backends = Backends(logprob=LetterLogProb(), chat=ChatTemplate(lambda: tokenizer))
    method = make("ica", space, backends, chat="template")
    rendered = method.render(method.prior(), "x")
    assert rendered.startswith(
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nGenerate a task-specific"
    )
    with pytest.raises(RecipeError, match="chat template"):
        make("ica", space, chat="template").render(method.prior(), "x")
