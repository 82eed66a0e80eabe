"""What OpenRLHF 0.11.2 itself makes of a reward that fails, by its own executor; and what it makes of the plugin's.

The table in CONTRIBUTING.md quotes these tests.
"""

import asyncio
import math
import os
from types import SimpleNamespace

import pytest

from persona_rm.hosts.common import where
from tests.plugins.openrlhf.by_path import connect
from tests.plugins.openrlhf.test_agent_func import Engine, Tokens

agent = pytest.importorskip("openrlhf.utils.agent", reason="the host is not installed", exc_type=ImportError)
FAULTS = {
    "raises": "raise RuntimeError('the reward model is away')",
    "none": "return None",
    "nan": "return {'rewards': float('nan'), 'scores': float('nan'), 'extra_logs': {}}",
    "number": "return {'rewards': 0.5, 'scores': 0.5, 'extra_logs': {}}",
}


def execute(path):
    """The host's executor with the reward function in this file."""
    executor = agent.SingleTurnAgentExecutor(str(path))
    params = SimpleNamespace(max_tokens=8, logprobs=None)
    return asyncio.run(executor.execute("Tea?", {"user": "ann"}, params, 64, Tokens(), Engine()))


@pytest.mark.parametrize(("fault", "reward"), [("raises", None), ("none", None), ("nan", math.nan), ("number", 0.5)])
def test_the_host_alone_goes_on_with_what_is_no_reward(tmp_path, fault, reward):
    path = tmp_path / "reward.py"
    path.write_text(f"def reward_func(queries, prompts, labels, **_):\n    {FAULTS[fault]}\n")
    output = execute(path)
    assert output["reward"] is reward or output["reward"] == reward or math.isnan(output["reward"])
    assert output["observation_tokens"]


@pytest.mark.parametrize("fault", ["raises", "none", "nan"])
def test_with_the_plugin_the_process_ends_and_the_sample_is_not_trained_on(monkeypatch, tmp_path, fault):
    ended = []

    def end(code):
        ended.append(code)
        # In place of the end of the process. The host must not be able to catch it as an error of the reward.
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", end)
    actors = connect(monkeypatch, tmp_path)
    actors.error = RuntimeError("away") if fault == "raises" else None
    actors.value = math.nan
    if fault == "none":
        actors._result = lambda request: None
    with pytest.raises(SystemExit):
        execute(where("openrlhf", "reward"))
    assert ended
    assert ended[0] != 0
    assert (tmp_path / "failures.jsonl").is_file()
