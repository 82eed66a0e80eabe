import asyncio
import json
import math

import pytest

from persona_rm.backends.base import Backends, SequenceLogProb
from persona_rm.bundle import User, write_bundle
from persona_rm.errors import ScoreError
from persona_rm.serving.actor import RewardActor
from persona_rm.serving.replies import Ask
from persona_rm.types import Persona


class Letters:
    """log p = minus the letters of prompt and response; NaN for the response "nan"."""

    def logprob(self, prompts, responses):
        return [
            SequenceLogProb(math.nan if r == "nan" else -0.01 * len(p) - len(r), None, len(r) + 1)
            for p, r in zip(prompts, responses, strict=True)
        ]


@pytest.fixture
def actor(tmp_path, space):
    one = list(space.neutral)
    one[0] = 1
    people = [User(Persona("ann", directions=tuple(one)), "cats"), User(Persona("bob", directions=tuple(one)), "dogs")]
    write_bundle(tmp_path / "bundle", people, method={"name": "contrast"})
    made = RewardActor(str(tmp_path / "bundle"), "reward-0", str(tmp_path / "run"))
    made.bundle.__dict__["_backends"] = Backends(logprob=Letters())
    return made


def ask(actor, *asks):
    async def main():
        return await asyncio.gather(*[actor.score(one) for one in asks], return_exceptions=True)

    return asyncio.run(main())


def log(actor):
    return [json.loads(line) for line in actor.log.read_text().splitlines()]


def test_a_known_person_and_a_stranger(actor):
    ann, nobody, stranger = ask(actor, Ask("ann", "Hi", "Yes."), Ask(None, "Hi", "Yes."), Ask("zoe", "Hi", "Yes."))
    assert (ann.status, ann.user_known, ann.group) == ("ok", True, "cats")
    assert ann.reward != 0
    for reply in (nobody, stranger):
        assert (reply.status, reply.user_known, reply.group, reply.reward) == ("cold", False, "unknown", 0.0)
    assert actor.counts == {"scored": 3, "cold": 2, "bad_label": 0}


def test_nan_of_one_sample_is_its_own_error_and_no_number(actor):
    good, bad, other = ask(actor, Ask("ann", "Hi", "Yes."), Ask("ann", "Hi", "nan"), Ask("bob", "Hi", "No."))
    assert math.isfinite(good.reward)
    assert math.isfinite(other.reward)
    assert isinstance(bad, ScoreError)
    assert actor.counts["failed"] == 1
    assert [row["user"] for row in log(actor)] == ["ann", "bob"]


def test_the_log_says_who_and_what_and_holds_no_text(actor):
    ask(actor, Ask("ann", "a private question", "a private answer"), Ask(None, "q", " ", bad_label=True))
    first, second = log(actor)
    assert first["user"] == "ann"
    assert first["group"] == "cats"
    assert first["status"] == "ok"
    assert first["ms"] >= 0
    assert (second["bad_label"], second["empty"], second["status"]) == (True, True, "cold")
    assert "private" not in actor.log.read_text()


def test_the_preference_side(actor):
    profile = asyncio.run(actor.profile("ann", "Hi"))
    assert profile.text == actor.bundle.space.describe(actor.bundle.directions("ann"))
    assert profile.text in profile.prompt
    stranger = asyncio.run(actor.profile("zoe", "Hi"))
    assert (stranger.text, stranger.user_known) == ("", False)
    assert stranger.prompt == asyncio.run(actor.profile(None, "Hi")).prompt != profile.prompt


def test_warm_scores_and_info_counts(actor):
    async def main():
        await actor.warm()
        await actor.score(Ask("ann", "Hi", "Yes."))
        return await actor.info()

    info = asyncio.run(main())
    assert info["groups"] == ["cats", "dogs"]
    assert info["users"] == 2
    assert info["counts"]["scored"] == 1
    assert info["mean_batch"] == 1.0
