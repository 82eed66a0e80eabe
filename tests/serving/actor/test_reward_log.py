"""The reward log stays in order, whatever the wall clock does; a reward that is NaN is never in it."""

import asyncio
import json
import math
import time

import pytest

from persona_rm.bundle import write_bundle
from persona_rm.errors import ScoreError
from persona_rm.serving.actor.reward_actor import RewardActor
from persona_rm.serving.actor.reward_log import SteadyTime
from persona_rm.types import Persona, RewardRequest

METHOD = """
import math
from persona_rm import Method, UserState


class Sometimes(Method):
    name = "sometimes"

    def prior(self):
        return UserState(self.name, None, {})

    def adapt(self, evidence, state=None):
        return UserState(self.name, evidence.user_id, {}, n_items=1)

    def rewards(self, states, requests):
        return [self.result(s, r, math.nan if r.response == "nan" else float(len(r.response)))
                for s, r in zip(states, requests, strict=True)]
"""
DAY = 86_400


@pytest.fixture
def make(tmp_path):
    (tmp_path / "sometimes.py").write_text(METHOD)

    def made():
        keys = {"method": {"name": "./sometimes.py:Sometimes"}, "inferrer": None}
        folder = write_bundle(
            tmp_path / "bundle", [Persona("ann")], relative_to=tmp_path,
            postprocess={"standardise": "user", "minimum": 2}, **keys,
        )  # fmt: skip
        return RewardActor(str(folder), "reward-0", str(tmp_path / "run"))

    return made


def score(actor, *responses):
    async def main():
        asked = [RewardRequest("ann", "Hi", response, request_id=response) for response in responses]
        return await asyncio.gather(*map(actor.score, asked), return_exceptions=True)

    return asyncio.run(main())


def log(actor):
    return [json.loads(line) for line in actor.log.read_text().splitlines()]


@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_the_wall_clock_jumping_by_a_day_changes_no_order_and_no_reward(make, monkeypatch, jump):
    actor, wall = make(), time.time
    score(actor, "a"), score(actor, "bb")
    monkeypatch.setattr(time, "time", lambda: wall() + jump)
    after = [*score(actor, "ccc"), *score(actor, "a")]
    assert all(math.isfinite(result.reward) for result in after)
    asyncio.run(actor.close())
    restarted = make()
    score(restarted, "dddd")
    rows = log(restarted)
    assert [row["request_id"] for row in sorted(rows, key=lambda row: row["time"])] == ["a", "bb", "ccc", "a", "dddd"]
    assert rows[3]["time"] - rows[0]["time"] < DAY / 2
    assert restarted.postprocess.own.get("ann").count == 5


def test_a_reward_of_nan_in_the_middle_is_refused_and_leaves_no_trace(make):
    actor, clean = make(), []
    for i in range(6):
        clean += score(actor, f"before {i}")
    statistics = actor.postprocess.state()
    good, bad = score(actor, "good", "nan")
    assert isinstance(bad, ScoreError)
    assert bad.kind == "not_finite"
    assert math.isfinite(good.reward)
    assert "nan" not in {row["request_id"] for row in log(actor)}
    assert actor.postprocess.own.get("ann").count == 7
    assert statistics["own"] != actor.postprocess.state()["own"]
    (again,) = score(actor, "after")
    assert math.isfinite(again.reward)
    assert actor.counts["failed"] == 1


def test_time_goes_on_from_the_last_line():
    now = SteadyTime(50.0, wall=lambda: 10.0, steady=iter([1.0, 3.0]).__next__)
    assert now() == 52.0
