import json
import math
import os
import sys

import pytest

from persona_rm.errors import HostError, ScoreError
from persona_rm.serving.client import Unreachable
from tests.plugins.openrlhf.by_path import connect, load


class Stopped(BaseException):
    """In place of the end of the process."""


@pytest.fixture
def actors(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "_exit", lambda code: (_ for _ in ()).throw(Stopped(code)))
    return connect(monkeypatch, tmp_path)


@pytest.fixture
def plugin(actors):
    return load("reward")


def test_the_host_loads_it_by_path_and_leaves_no_module_behind(plugin):
    assert callable(plugin.reward_func)
    assert "reward_func" not in sys.modules


def test_one_sample_as_the_host_sends_it(plugin, actors):
    out = plugin.reward_func(["Q: hi</s>"], ["Q:"], [{"user": "ann"}])
    assert out["rewards"] == pytest.approx(0.3)
    assert out["scores"] == pytest.approx(1 / (1 + math.exp(-0.3)))
    assert out["extra_logs"] == {"persona_rm/cold": 0.0}
    assert (actors.requests[0].user, actors.requests[0].prompt, actors.requests[0].response) == ("ann", "Q:", " hi")


def test_what_comes_back_survives_the_hosts_tensors(plugin):
    import torch

    out = plugin.reward_func(["Q: hi"], ["Q:"], ["ann"])
    assert torch.tensor([out["rewards"]]).shape == torch.tensor([out["scores"]]).shape == (1,)
    assert all(torch.tensor([value]).shape == (1,) for value in out["extra_logs"].values())


def test_nothing_is_accepted(plugin):
    assert plugin.reward_func([], [], []) == {"rewards": [], "scores": [], "extra_logs": {}}


def test_several_samples(plugin):
    out = plugin.reward_func(["a1", "a22"], ["a", "a"], ["ann", None])
    assert out["rewards"] == pytest.approx([0.1, 0.2])
    assert out["extra_logs"] == {"persona_rm/cold": [0.0, 1.0]}


@pytest.mark.parametrize("reward", [-1e4, -3.0, 0.0, 3.0, 1e4])
def test_scores_stay_between_0_and_1(plugin, actors, reward):
    actors.value = reward
    assert 0 <= plugin.reward_func(["ab"], ["a"], ["ann"])["scores"] <= 1


@pytest.mark.parametrize(
    ("label", "user", "bad"),
    [
        pytest.param("[" * 100_000, None, True, id="brackets"),
        ("ann", "ann", False),
        ({"user": "ann"}, "ann", False),
        ('{"user": "ann"}', "ann", False),
        ("stranger", "stranger", False),
        (None, None, False),
        ("", None, False),
        ({}, None, False),
        (["ann"], None, True),
        (3.5, None, True),
        (3, "3", False),
        ({"user_id": "ann"}, "ann", False),
        ('{"user": ', None, True),
    ],
)
def test_labels_by_default_the_prior_speaks_and_is_counted(plugin, actors, label, user, bad):
    out = plugin.reward_func(["ab"], ["a"], [label])
    assert (actors.requests[0].user, actors.requests[0].bad_label) == (user, bad)
    assert math.isfinite(out["rewards"])
    assert out["extra_logs"]["persona_rm/cold"] == float(user != "ann")


@pytest.mark.parametrize("label", ["stranger", "eve", None, "", {}, ["ann"], 3, 3.5, '{"user": '])
def test_labels_strict_stops_the_job(monkeypatch, tmp_path, label):
    monkeypatch.setattr(os, "_exit", lambda code: (_ for _ in ()).throw(Stopped(code)))
    connect(monkeypatch, tmp_path, PERSONA_RM_LABELS="strict")
    plugin = load("reward")
    assert plugin.reward_func(["ab"], ["a"], ["ann"])["rewards"] == pytest.approx(0.1)
    with pytest.raises(Stopped):
        plugin.reward_func(["ab"], ["a"], [label])
    assert "strict" in (tmp_path / "failures.jsonl").read_text()


def test_the_bare_prompt_of_the_label_is_what_is_scored(plugin, actors):
    plugin.reward_func(["Likes tea. Q: yes"], ["Likes tea. Q:"], [{"user": "ann", "prompt": "Q:"}])
    assert (actors.requests[0].prompt, actors.requests[0].response) == ("Q:", " yes")


@pytest.mark.parametrize(
    ("error", "value", "reason"),
    [
        (Unreachable("reward-0: ActorDiedError"), None, "no reward actor answered"),
        (ScoreError("a response too long for the model"), None, "too long"),
        (None, math.nan, "is nan"),
    ],
)
def test_without_a_reward_the_process_ends_and_says_why(plugin, actors, tmp_path, capfd, error, value, reason):
    actors.error, actors.value = error, value
    with pytest.raises(Stopped) as stopped:
        plugin.reward_func(["ab"], ["a"], ["ann"])
    assert stopped.value.args == (plugin.EXIT_CODE,) != (0,)
    assert reason in json.loads((tmp_path / "failures.jsonl").read_text())["reason"]
    assert "ERROR persona_rm: no reward" in capfd.readouterr().err


def test_a_reward_of_nan_in_the_middle_of_a_run_stops_it_and_names_the_users_hash(plugin, actors, tmp_path):
    for i in range(20):
        assert math.isfinite(plugin.reward_func([f"Q: {i}"], ["Q:"], ["ann"])["rewards"])
    actors.value = math.nan
    with pytest.raises(Stopped):
        plugin.reward_func(["Q: hi"], ["Q:"], ["ann"])
    reason = json.loads((tmp_path / "failures.jsonl").read_text())["reason"]
    assert reason == f"the reward of user {plugin.CLIENT.failures.log_ids.of('ann')} is nan"


def test_a_bad_set_up_is_refused_at_import(monkeypatch):
    monkeypatch.delenv("PERSONA_RM_BUNDLE", raising=False)
    with pytest.raises(HostError, match="PERSONA_RM_BUNDLE does not say"):
        load("reward")


@pytest.mark.parametrize(
    ("query", "prompt", "response"),
    [
        ("Hello? Yes.<eos>", "Hello?", " Yes."),
        ("Hello? Yes.<|im_end|>\n<|endoftext|>", "Hello?", " Yes."),
        ("Hello? Yes.</s><pad><pad>", "Hello?", " Yes."),
        ("Hello?<eos>", "Hello?", ""),
        ("Hello? a <b>bold</b>", "Hello?", " a <b>bold</b>"),
        ("Hello? <s>x", "Hello?", " <s>x"),
        ("end of a prompt that was cut: yes", "the beginning is lost, the end of a prompt that was cut:", " yes"),
        ("answer", "", "answer"),
    ],
)
def test_the_answer_inside_the_query(plugin, query, prompt, response):
    assert plugin.strip_prompt(query, prompt)[0] == response


def test_a_query_without_its_prompt_is_an_error(plugin):
    with pytest.raises(ScoreError, match="does not begin with its prompt"):
        plugin.strip_prompt("something else entirely", "a prompt of more than sixteen letters")


@pytest.mark.parametrize("part", ["reward", "agent"])
@pytest.mark.parametrize("value", ["Strict", "", "loud"])
def test_an_unknown_label_policy_is_refused_at_import(monkeypatch, tmp_path, part, value):
    connect(monkeypatch, tmp_path, PERSONA_RM_LABELS=value)
    with pytest.raises(HostError, match=r"PERSONA_RM_LABELS is .*; it is one of \['prior', 'strict'\]"):
        load(part)


def test_the_label_policy_is_reported_at_the_start(monkeypatch, tmp_path, capsys):
    connect(monkeypatch, tmp_path, PERSONA_RM_LABELS="strict")
    load("reward")
    assert (
        "persona_rm: PERSONA_RM_LABELS=strict: a sample without a known user stops the job" in capsys.readouterr().err
    )
