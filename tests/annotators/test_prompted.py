"""`llm` and `http`: what they ask, and what becomes of bad rows."""

import pytest

from persona_rm.annotators import prompted as asking
from persona_rm.annotators.http import HttpAnnotator, HttpAnnotatorConfig
from persona_rm.annotators.llm import LlmAnnotator, LlmAnnotatorConfig
from persona_rm.annotators.parse_levels import NO_JSON
from persona_rm.backends.base import Backends, Generation
from persona_rm.backends.openai_http import HttpConfig, HttpGenerator
from persona_rm.backends.vllm_engine import VllmConfig, VllmGenerator
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment
from tests.annotators.annotator_samples import Hashed, Scripted


@pytest.fixture
def two(space):
    return PreferenceSpace("two", space.dimensions[:2])


def read(space, generator, texts, variant=0, cls=LlmAnnotator, **config):
    annotator = cls(cls.Config(**config), space, Backends(generator=generator))
    return annotator.read(["post"] * len(texts), [Comment(str(i), text) for i, text in enumerate(texts)], variant)


def test_questions_ask_one_prompt_per_comment_and_dimension_comment_by_comment(two):
    model = Scripted("1", "3", "2", "1")
    readings = read(two, model, ["alpha", "beta"])
    assert [reading.levels for reading in readings] == [(3, 2), (1, 3)]
    assert readings[0].confidence == pytest.approx((0.8, 0.8))
    assert ["alpha" in prompt for prompt in model.asked] == [True, True, False, False]
    assert model.options == [{"max_tokens": 1, "choices": ["1", "2", "3"]}]


def test_variant_1_undoes_its_order_of_options(two):
    assert read(two, Scripted("1", "3"), ["text"], variant=1)[0].levels == (2, 3)
    assert read(two, Scripted('{"1":1,"2":3}'), ["text"], variant=1, form="json")[0].levels == (3, 1)
    assert read(two, Scripted("[1,-2]"), ["text"], variant=1, form="compact")[0].levels == (1, 3)


def test_http_leaves_room_for_a_lead_in(two):
    model = Scripted(" 1", "3")
    assert read(two, model, ["text"], cls=HttpAnnotator)[0].levels == (3, 2)
    assert model.options[0]["max_tokens"] == 4


@pytest.mark.parametrize("form", ["json", "compact"])
def test_listing_asks_one_prompt_per_comment_with_a_schema(two, form):
    model = Scripted("{}" if form == "json" else "[]", '{"2":1}' if form == "json" else "[-2]")
    readings = read(two, model, ["first", "second"], form=form, max_answer_tokens=50)
    assert [reading.levels for reading in readings] == [(2, 2), (2, 1)]
    assert model.options[0]["max_tokens"] == 50
    assert model.options[0]["schema"]["type"] == ("object" if form == "json" else "array")


def test_bad_rows_are_errors_in_their_place_without_the_text(two):
    model = Scripted("rubbish secret", Generation(error="the server said HTTP 400"), '{"1":3}')
    readings = read(two, model, ["secret", " ", "secret", "fine"], form="json")
    assert [r.error for r in readings] == [NO_JSON, "", "got no answer: the server said HTTP 400", ""]
    assert readings[1].levels == (2, 2)
    assert readings[3].levels == (3, 2)


def test_many_prompts_are_asked_in_several_calls(two, monkeypatch):
    monkeypatch.setattr(asking, "AT_ONCE", 3)
    model = Scripted(*"123123")
    assert [r.levels for r in read(two, model, ["a", "b", "c"])] == [(3, 1), (2, 3), (1, 2)]
    assert len(model.options) == 2


def test_nothing_is_asked_for_nothing(two):
    model = Scripted()
    assert read(two, model, [" ", ""]) == read(two, model, ["", " "])
    assert model.asked == []


def test_a_long_text_is_cut_and_counted(two):
    model = Scripted("[]", "[]")
    long, short = read(two, model, ["b" * 300 + "e" * 300, "short"], form="compact", max_chars=100)
    assert (long.cut, short.cut) == (507, 0)
    assert "bb [...] ee" in model.asked[0]


def test_the_cost_is_of_the_comments_alone(two):
    model = Hashed()
    annotator = LlmAnnotator(LlmAnnotatorConfig(), two, Backends(generator=model))
    cost = annotator.cost(["p"] * 3, [Comment(str(i), f"t{i}") for i in range(3)])
    assert (cost.prompt_tokens, cost.cached_tokens, cost.output_tokens) == (600, 240, 6)
    assert len(model.asked) == 8


def test_an_engine_or_server_of_the_config_is_preferred_and_not_opened(space):
    engine, server = VllmConfig(model="m"), HttpConfig(base_url="http://x/v1", model="m")
    local = LlmAnnotator(LlmAnnotatorConfig(engine=engine), space, Backends(generator=Hashed()))
    remote = HttpAnnotator(HttpAnnotatorConfig(server=server), space, Backends(generator=Hashed()))
    assert isinstance(local.generator, VllmGenerator)
    assert isinstance(remote.generator, HttpGenerator)
    assert LlmAnnotator.Config(engine={"model": "m"}).engine == engine


def test_the_engine_of_the_config_is_closed_and_one_handed_over_is_not(space, monkeypatch):
    stopped = []
    monkeypatch.setattr("persona_rm.backends.vllm_engine.stop_engine", stopped.append)
    own = LlmAnnotator(LlmAnnotatorConfig(engine=VllmConfig(model="m")), space, Backends())
    own.close()
    own.generator.close()
    assert stopped == [], "none was started"
    vars(own.generator)["_engine"] = "mine"
    own.close()
    handed = VllmGenerator(VllmConfig(model="m"))
    vars(handed)["_engine"] = "theirs"
    other = LlmAnnotator(LlmAnnotatorConfig(), space, Backends(generator=handed))
    assert other.generator is handed
    other.close()
    assert stopped == ["mine"]
