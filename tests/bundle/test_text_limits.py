"""Lengths are compared before anything reads a text."""

import asyncio

import pytest

from persona_rm.bundle import load_bundle
from persona_rm.bundle.text_limits import CHARACTERS, TextLimits
from persona_rm.errors import ScoreError
from persona_rm.serving.actor.inference_actor import InferenceActor
from persona_rm.serving.actor.reward_actor import RewardActor
from persona_rm.types import Message, RewardRequest
from tests.serving.serving_samples import users_bundle

LONG = "x" * (CHARACTERS + 1)
TURNS = (Message("user", LONG[:100_000]), Message("assistant", "Yes."), Message("user", LONG[:100_000]))


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (RewardRequest("u0", LONG, "Yes."), "the prompt has 200,001 characters, and the limit is 200,000"),
        (RewardRequest("u0", "Hello?", LONG), "the response has 200,001 characters, and the limit is 200,000"),
        (RewardRequest(None, "Hello?", "y" * (16 << 20)), "the response has 16,777,216 characters"),
        (RewardRequest("u0", TURNS, "Yes."), "the prompt has 200,0"),
    ],
    ids=["prompt", "response", "16 MB", "turns"],
)
def test_a_long_text_is_refused_with_its_length_the_limit_and_the_setting(request_, said):
    with pytest.raises(ScoreError, match=said) as caught:
        TextLimits().check(request_)
    assert caught.value.kind == "too_long"
    assert "raise limits." in caught.value.cause
    assert "in bundle.yaml" in caught.value.cause
    assert "xxx" not in caught.value.cause


def test_a_text_of_the_limit_passes():
    TextLimits().check(RewardRequest("u0", "x" * CHARACTERS, "y" * CHARACTERS))


@pytest.fixture
def folder(tmp_path, space):
    return users_bundle(
        tmp_path / "bundle", space, method={"name": "pba_linear"}, annotator={"name": "simulator"},
        limits={"prompt": 100, "response": 200},
    )  # fmt: skip


def test_the_bundle_names_the_row_and_nothing_reads_the_text(folder, monkeypatch):
    bundle = load_bundle(folder)
    good, bad = RewardRequest("u0", "Hello?", "Yes."), RewardRequest("u0", "Hello?", "y" * 201)
    monkeypatch.setattr(bundle.method, "score", lambda *_: pytest.fail("it was scored"))
    with pytest.raises(ScoreError, match="the response has 201 characters, and the limit is 200") as caught:
        bundle.score([good, bad])
    assert (caught.value.rows, caught.value.kind) == ((1,), "too_long")


def test_a_long_row_takes_no_place_in_a_batch_and_costs_the_others_nothing(folder):
    async def work():
        actor = RewardActor(str(folder), "reward-0")
        good, bad = RewardRequest("u0", "Hello?", "Yes."), RewardRequest("u0", "Hello?", "y" * 201)
        results = await asyncio.gather(*[actor.score(one) for one in (good, bad, good)], return_exceptions=True)
        with pytest.raises(ScoreError, match="the response has 201 characters") as caught:
            await actor.score_batch([good, bad])
        assert caught.value.rows == (1,)
        with pytest.raises(ScoreError, match="the prompt has 101 characters"):
            await actor.profile("u0", "x" * 101)
        await actor.close()
        inference = InferenceActor(str(folder))
        with pytest.raises(ScoreError, match="the prompt has 101 characters"):
            await inference.profile("u0", "x" * 101)
        with pytest.raises(ScoreError, match="the prompt has 101 characters"):
            await inference.directions(["u0"], "x" * 101)
        await inference.close()
        return results, actor

    (first, refused, last), actor = asyncio.run(work())
    assert first.reward == last.reward
    assert isinstance(refused, ScoreError)
    assert actor.batcher.counts["failed"] == 0, "the batcher has never seen it"
