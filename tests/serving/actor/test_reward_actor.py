import asyncio
import json
import math
from pathlib import Path
from types import SimpleNamespace

import pytest

from persona_rm.backends.base import Backends, SequenceLogProb
from persona_rm.backends.logprob import forward as transformers
from persona_rm.backends.logprob import vllm_logprob as vllm
from persona_rm.bundle import User, write_bundle
from persona_rm.errors import ScoreError
from persona_rm.serving.actor.reward_actor import RewardActor
from persona_rm.types import Persona, RewardRequest, UserState
from tests.serving.serving_samples import user, users_bundle, votes


class Letters:
    """log p = minus the letters of prompt and response; NaN for the response "nan"."""

    def logprob(self, prompts, responses, finished=None):
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
    ann, nobody, stranger = ask(
        actor,
        RewardRequest("ann", "Hi", "Yes."),
        RewardRequest(None, "Hi", "Yes."),
        RewardRequest("zoe", "Hi", "Yes."),
    )
    assert (ann.status, ann.trace.user_known, ann.trace.group) == ("ok", True, "cats")
    assert ann.reward != 0
    for reply in (nobody, stranger):
        assert (reply.status, reply.trace.user_known, reply.trace.group, reply.reward) == (
            "cold",
            False,
            "unknown",
            0.0,
        )
    assert actor.counts == {"scored": 3, "cold": 2, "erased": 0, "bad_label": 0}


def test_nan_of_one_sample_is_its_own_error_and_no_number(actor):
    good, bad, other = ask(
        actor, RewardRequest("ann", "Hi", "Yes."), RewardRequest("ann", "Hi", "nan"), RewardRequest("bob", "Hi", "No.")
    )
    assert math.isfinite(good.reward)
    assert math.isfinite(other.reward)
    assert isinstance(bad, ScoreError)
    assert actor.counts["failed"] == 1
    assert [row["user"] for row in log(actor)] == [actor.bundle.log_ids.of(user) for user in ("ann", "bob")]


def test_a_full_disk_costs_log_lines_and_no_reward(actor):
    actor.reward_log.path = Path("/dev/full")
    results = ask(actor, *[RewardRequest("ann", "Hi", f"Yes {n}.") for n in range(40)])
    assert [result.status for result in results] == ["ok"] * 40
    info = asyncio.run(actor.info())
    assert (info["unwritten"], info["rows"]["scored"]) == ({"log lines": 40}, 40)


def test_the_log_says_who_and_what_and_holds_no_text(actor):
    ask(
        actor,
        RewardRequest("ann", "a private question", "a private answer"),
        RewardRequest(None, "q", " ", bad_label=True),
    )
    first, second = log(actor)
    assert first["user"] == actor.bundle.log_ids.of("ann") != "ann"
    assert first["group"] == "cats"
    assert first["status"] == "ok"
    assert first["ms"] >= 0
    assert (second["bad_label"], second["empty"], second["status"]) == (True, True, "cold")
    assert "private" not in actor.log.read_text()


def test_the_preference_side(actor):
    async def main():
        return await asyncio.gather(*[actor.profile(user, "Hi") for user in ("ann", "zoe", None)])

    profile, stranger, nobody = asyncio.run(main())
    assert profile.text == actor.bundle.space.describe(actor.bundle.directions("ann"))
    assert profile.text in profile.prompt
    assert (stranger.text, stranger.user_known) == ("", False)
    assert stranger.prompt == nobody.prompt != profile.prompt
    assert actor.counts["profiles"] == 3


def test_warm_scores_and_info_counts(actor):
    async def main():
        await actor.warm()
        await actor.score(RewardRequest("ann", "Hi", "Yes."))
        return await actor.info()

    info = asyncio.run(main())
    assert info["groups"] == ["cats", "dogs"]
    assert info["users"] == 2
    assert info["counts"]["scored"] == 1
    assert info["mean_batch"] == 1.0


def test_info_says_what_became_of_every_row_and_how_large_batches_were(actor):
    async def main():
        same = [actor.score(RewardRequest("ann", "Hi", "Yes.")) for _ in range(3)]
        gone = asyncio.create_task(actor.score(RewardRequest("ann", "Hi", "gone")))
        others = [
            actor.score(RewardRequest("bob", "Hi", "nan")),
            actor.score(RewardRequest("bob", "Hi", "late"), deadline=0),
        ]
        await asyncio.sleep(0)
        gone.cancel()
        return await asyncio.gather(*same, *others, gone, return_exceptions=True), await actor.info()

    found, info = asyncio.run(main())
    assert [type(one).__name__ for one in found[3:]] == ["ScoreError", "Late", "CancelledError"]
    assert info["rows"] == {"scored": 3, "shared": 2, "late": 1, "left": 1, "full": 0, "failed": 1}
    sizes = {key: n for key, n in info["batches"].items() if n}
    assert sizes == {"2": 1, "1": 1, "rows": 3}, "both rows, and the good one again"
    assert set(info["engine"].values()) == {0}, "this engine counts nothing"
    assert json.loads(json.dumps(info)) == info


@pytest.mark.parametrize(
    ("kind", "counters", "expected"),
    [
        (
            transformers.ForwardCounters,
            {"rows": 1, "computed": 2, "reused": 3, "cut_rows": 4, "cut_tokens": 5},
            (1, 4, 0, 2, 3, 5),
        ),
        (vllm.VllmCounters, {"rows": 1, "tokens": 20, "cached": 3, "rescored": 4}, (1, 0, 4, 17, 3, 0)),
    ],
)
def test_the_engines_counters_go_along_by_one_set_of_names(actor, kind, counters, expected):
    logprob = SimpleNamespace(counters=kind(**counters))
    actor.bundle.__dict__["_backends"] = Backends(logprob=logprob)
    assert tuple(asyncio.run(actor.info())["engine"].values()) == expected


def test_it_reads_the_store_and_agrees_with_the_prompt(tmp_path, space):
    actor = RewardActor(str(users_bundle(tmp_path / "bundle", space)), "reward-0", str(tmp_path / "run"))
    actor.bundle.__dict__["_backends"] = Backends(logprob=Letters())
    posterior = actor.bundle.user_states.stateful
    for name, dim, version in (("u0", 7, 4), ("new", 8, 2)):
        tally = posterior.tally(user(space, name, dim).persona)
        actor.bundle.store.put([posterior.state(name, tally, version)])
    actor.bundle.store.erase(["u1"])

    async def main():
        told = await asyncio.gather(*[actor.profile(name, "Hi") for name in ("u0", "u1", "new")])
        return told, await asyncio.gather(
            *[actor.score(RewardRequest(name, "Hi", "Yes.")) for name in ("u0", "u1", "new", "x")]
        )

    told, replies = asyncio.run(main())
    assert [(one.text, one.version, one.status) for one in told] == [
        (space.describe(votes(space, 7)), 4, "ok"), ("", 0, "erased"), (space.describe(votes(space, 8)), 2, "ok"),
    ]  # fmt: skip
    assert [(one.trace.user_known, one.trace.group) for one in replies] == [
        (True, "cats"), (False, "unknown"), (True, "all"), (False, "unknown"),
    ]  # fmt: skip
    assert [one.trace.metrics["persona_rm/erased"] for one in replies] == [0.0, 1.0, 0.0, 0.0]
    assert len({tuple(one.trace.metrics) for one in replies}) == 1
    assert [(row["state_version"], row["erased"]) for row in log(actor)] == [
        (4, False),
        (0, True),
        (2, False),
        (0, False),
    ]
    assert (actor.counts["erased"], actor.counts["cold"]) == (1, 2)


def test_a_state_that_cannot_be_read_is_no_reward(tmp_path, space):
    actor = RewardActor(str(users_bundle(tmp_path / "bundle", space)), "reward-0")
    actor.bundle.__dict__["_backends"] = Backends(logprob=Letters())
    actor.bundle.store.put([UserState("posterior", "u0", {"layout": 0})])
    old, good = ask(actor, RewardRequest("u0", "Hi", "Yes."), RewardRequest("u1", "Hi", "Yes."))
    assert isinstance(old, ScoreError)
    assert "layout 0; this version reads layout 1: infer it again" in str(old)
    assert good.status == "ok"
