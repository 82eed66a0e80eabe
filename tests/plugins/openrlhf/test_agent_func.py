import asyncio
import math
from types import SimpleNamespace

import pytest

from persona_rm.errors import DataError, HostError
from tests.plugins.openrlhf.by_path import connect, load

pytest.importorskip("openrlhf.utils.agent", reason="the host is not installed", exc_type=ImportError)


class Tokens:
    """One token per letter; id 1 is the end. There is no chat template."""

    chat_template = None
    all_special_ids, all_special_tokens = (1,), ("<eos>",)

    def convert_tokens_to_ids(self, token):
        return None

    def get_added_vocab(self):
        return {}

    def __call__(self, text, add_special_tokens=False, return_tensors=None):
        import torch

        ids = [ord(c) for c in text]
        return {"input_ids": torch.tensor([ids]) if return_tensors else ids}

    def decode(self, ids, skip_special_tokens=False):
        return "".join("<eos>" if i == 1 and not skip_special_tokens else chr(i) for i in ids if i != 1)


class Engine:
    def __init__(self, answer="yes", reason="stop"):
        self.prompts, self.answer, self.reason = [], answer, reason

    async def generate(self, prompt_ids, params, multi_modal_data=None):
        self.prompts.append("".join(map(chr, prompt_ids)))
        ids = [*(ord(c) for c in self.answer), 1]
        return SimpleNamespace(outputs=[SimpleNamespace(token_ids=ids, finish_reason=self.reason, logprobs=None)])


@pytest.fixture
def actors(monkeypatch, tmp_path):
    return connect(monkeypatch, tmp_path)


def execute(label, *, prompt="Tea?", max_length=64, engine=None):
    engine = engine or Engine()
    executor = load("agent").AgentExecutor()
    params = SimpleNamespace(max_tokens=8, logprobs=None)
    return asyncio.run(executor.execute(prompt, label, params, max_length, Tokens(), engine)), engine


def test_the_person_stands_in_the_policys_prompt_and_the_answer_is_scored_by_its_tokens(actors):
    output, engine = execute({"user": "ann"})
    assert engine.prompts == ["[ann] Tea?"]
    (request,) = actors.requests
    assert (request.user, request.prompt, request.response, request.finished) == ("ann", "Tea?", "yes", True)
    assert output["reward"] == pytest.approx(0.3)
    assert output["scores"] == pytest.approx(1 / (1 + math.exp(-0.3)))
    assert output["extra_logs"] == {"persona_rm/cold": 0.0, "persona_rm/prompt_cut": 0.0}


def test_the_host_still_finds_the_samples_data_source_by_its_own_prompt(actors):
    output, _ = execute("ann")
    assert output["prompt"] == "Tea?"
    assert output["label"] == "ann"
    assert output["action_ranges"] == [(len("[ann] Tea?"), len("[ann] Tea?") + 4)]


def test_a_bare_prompt_in_the_label_is_what_the_person_is_put_before(actors):
    _, engine = execute({"user": "ann", "prompt": "Bare?"}, prompt="Dressed. Bare?")
    assert engine.prompts == ["[ann] Bare?"]
    assert actors.requests[0].prompt == "Bare?"


@pytest.mark.parametrize("label", [None, "", "stranger", "eve", ["ann"], {"user": 3}])
def test_strangers_and_junk_get_the_prior(actors, label):
    output, _ = execute(label)
    assert output["extra_logs"]["persona_rm/cold"] == 1.0


def test_an_answer_that_was_cut_at_the_length_limit_is_not_finished(actors):
    execute("ann", engine=Engine(reason="length"))
    assert [request.finished for request in actors.requests] == [False]


def test_a_prompt_that_the_host_cut_is_counted(actors):
    output, engine = execute("ann", prompt="x" * 40, max_length=20)
    assert len(engine.prompts[0]) == 12
    assert output["extra_logs"]["persona_rm/prompt_cut"] == 1.0


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_without_a_reward_the_executor_raises_and_the_host_does_not_catch_it_there(actors, value):
    actors.value = value
    with pytest.raises(HostError, match=rf"the reward of user user-[0-9a-f]+ is {value}"):
        execute("ann")


def test_strict_labels(monkeypatch, tmp_path):
    connect(monkeypatch, tmp_path, PERSONA_RM_LABELS="strict")
    execute("ann")
    with pytest.raises(HostError, match=r"strict.*does not know this user: user-[0-9a-f]{32} \(cold\)"):
        execute("stranger")
    with pytest.raises(HostError, match=r"strict.*does not know this user: user-[0-9a-f]{32} \(erased\)"):
        execute("eve")
    with pytest.raises(DataError, match=r"strict.*this sample has no user: a label is"):
        execute(3.5)
