"""A reward actor with post-processing, further models and groups: its rewards, its logs and its restarts."""

import asyncio
import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from persona_rm.backends.base import Backends, SequenceLogProb
from persona_rm.backends.tokens import load_tokenizer
from persona_rm.bundle import User, write_bundle
from persona_rm.errors import RecipeError, ScoreError
from persona_rm.methods.base import Method
from persona_rm.serving.actor.reward_actor import RewardActor
from persona_rm.types import Persona, RewardRequest, RewardTrace, UserState

H = "persona_rm/postprocess/"


class Cyclic(Method):
    """Paper beats stone beats scissors beats paper; no scalar says so."""

    name = "cyclic"

    def adapt(self, persona, state=None):
        return self.prior()

    def rewards(self, states, requests):
        return [self.result(state, request, 0.0) for state, request in zip(states, requests, strict=True)]

    def compare(self, states, groups):
        kinds = ("paper", "stone", "scissors")
        beats = {0: 0.5, 1: 1.0, 2: 0.0}
        places = [[kinds.index(request.response) for request in group] for group in groups]
        return [[[beats[(b - a) % 3] for b in group] for a in group] for group in places]


class Fixed(Method):
    """The same for everybody: minus one for what has a knife in it, else the number of letters."""

    name = "fixed"

    def adapt(self, persona, state=None):
        return self.prior()

    def rewards(self, states, requests):
        return [
            self.result(state, request, -1.0 if "knife" in request.response else float(len(request.response)))
            for state, request in zip(states, requests, strict=True)
        ]


class Own(Method):
    """Letters, of which a known person gets ten more for each item of evidence."""

    name = "own"

    def __init__(self):
        super().__init__(None, None, None)
        self.calls = []

    def adapt(self, persona, state=None):
        return UserState("own", persona.user_id, {}, persona.n_items)

    def rewards(self, states, requests):
        self.calls.append(len(requests))
        results = []
        for state, request in zip(states, requests, strict=True):
            parts = {"letters": float(len(request.response)), "user": 10.0 * (state.user_id is not None)}
            results.append(self.result(state, request, sum(parts.values()), parts))
        return results


class Letters:
    def logprob(self, prompts, responses, finished=None):
        return [SequenceLogProb(-float(len(r)), None, len(r) + 1) for p, r in zip(prompts, responses, strict=True)]


def make(folder, space, method=None, name="reward-0", **keys):
    neutral = User(Persona("ann", directions=space.neutral), "cats")
    write_bundle(folder / "bundle", [neutral], method={"name": "contrast"}, **keys)
    actor = RewardActor(str(folder / "bundle"), name, str(folder / "run"))
    actor.bundle.__dict__.update(_backends=Backends(logprob=Letters()), universal=Fixed(None, None, None))
    actor.bundle.__dict__.update(safety=actor.bundle.universal, method=method or Own())
    return actor


def ask(actor, *asks):
    async def main():
        return await asyncio.gather(*[actor.score(one) for one in asks], return_exceptions=True)

    return asyncio.run(main())


FLOOR = {"below": 0, "reward": -5}
MODEL = {"method": {"name": "bradley_terry"}}


def test_length_in_tokens_is_that_of_the_policys_tokenizer(tmp_path, space):
    model = str(files("persona_rm") / "assets" / "simulator_lm")
    postprocess = {"length": {"coefficient": 1.0, "unit": "tokens"}}
    actor = make(tmp_path, space, postprocess=postprocess, policy=model)
    (reply,) = ask(actor, RewardRequest(None, "Hi", "and some more words"))
    tokens = len(load_tokenizer(Path(model))("and some more words", add_special_tokens=False)["input_ids"])
    assert 0 < tokens < 19
    assert reply.reward == 19 - tokens


def test_without_postprocess_nothing_changes_and_nothing_is_logged(tmp_path, space):
    (reply,) = ask(make(tmp_path, space), RewardRequest("ann", "Hi", "Yes."))
    assert reply.reward == 14
    assert not any(key.startswith((H, "persona_rm/group/")) for key in reply.trace.metrics)


def test_mixed_cut_and_shortened_in_the_order_that_the_log_tells(tmp_path, space):
    postprocess = {
        "mix": {"weight": 0.5},
        "clip": [-8, 8],
        "length": {"coefficient": 0.5, "free": 2, "unit": "characters"},
    }
    actor = make(tmp_path, space, postprocess=postprocess, universal=MODEL)
    known, stranger = ask(actor, RewardRequest("ann", "Hi", "Yes."), RewardRequest(None, "Hi", "Yes."))
    assert known.reward == min(0.5 * 14 + 0.5 * 4, 8) - 1
    assert stranger.reward == 4 - 1
    assert known.trace.metrics[H + "raw"] == 14
    assert sum(known.trace.metrics[H + step] for step in ("raw", "mix", "clip", "length")) == pytest.approx(
        known.reward
    )
    assert known.trace.metrics.keys() == stranger.trace.metrics.keys()
    row = json.loads(actor.log.read_text().splitlines()[0])
    assert row["reward"] == known.reward


def test_the_log_line_leads_from_the_parts_of_the_methods_reward_to_the_reward_that_was_given(tmp_path, space):
    postprocess = {"mix": {"weight": 0.5}, "clip": [-8, 8], "length": {"coefficient": 0.5, "unit": "characters"}}
    actor = make(tmp_path, space, postprocess=postprocess, universal=MODEL)
    requests = [
        RewardRequest("ann", "a private question", "Yes.", request_id="mine", finished=False),
        RewardRequest("ann", "a private question", "a private answer that is longer"),
        RewardRequest(None, "a private question", "", bad_label=True),
    ]
    results = ask(actor, *requests)
    rows = [json.loads(line) for line in actor.log.read_text().splitlines()]
    assert rows[0].keys() == {
        "time", "request_id", "user", "user_known", "group", "status", "state_version", "raw", "parts", "std",
        "inputs", "steps", "evidence", "reward", "finished", "erased", "bad_label", "empty", "ms",
    }  # fmt: skip
    for row, result in zip(rows, results, strict=True):
        assert row["raw"] == sum(row["parts"].values())
        values = [row["raw"], *(step["after"] for step in row["steps"])]
        assert [step["before"] for step in row["steps"]] == values[:-1]
        assert row["reward"] == values[-1] == result.reward
        assert [step["name"] for step in row["steps"]] == ["mix", "clip", "length"]
        assert row["inputs"].keys() == {"n_items", "universal", "length"}
        user = result.trace.user and actor.bundle.log_ids.of(result.trace.user)
        assert RewardTrace.from_row(row) == replace(result.trace, metrics={}, parts=row["parts"], user=user)
    assert rows[0]["raw"] == 14.0 != rows[0]["reward"], "clipped, so that the test says something"
    assert rows[0]["request_id"] == "mine"
    assert len({row["request_id"] for row in rows}) == 3
    assert [row["finished"] for row in rows] == [False, True, True]
    assert [(row["bad_label"], row["empty"]) for row in rows] == [(False, False), (False, False), (True, True)]
    assert "private" not in actor.log.read_text()


def test_a_normalisation_over_the_group_is_the_first_step_of_the_trace(tmp_path, space):
    groups = {"size": 3, "normalise": "centred"}
    actor = make(tmp_path, space, groups=groups, postprocess={"clip": [-1, 1]})
    results = ask(actor, *[RewardRequest("ann", "Hi", "x" * n) for n in (1, 2, 6)])
    steps = [[(step.name, step.before, step.after) for step in result.trace.steps] for result in results]
    assert [result.trace.raw for result in results] == [11, 12, 16]
    assert steps == [
        [("group_centred", 11, -2), ("clip", -2, -1)],
        [("group_centred", 12, -1), ("clip", -1, -1)],
        [("group_centred", 16, 3), ("clip", 3, 1)],
    ]


def test_equal_requests_that_are_computed_once_keep_their_own_ids(tmp_path, space):
    actor = make(tmp_path, space)
    results = ask(actor, *[RewardRequest("ann", "Hi", "Yes.", request_id=f"r{i}") for i in range(3)])
    assert actor.batcher.counts["shared"] == 2
    assert [result.trace.request_id for result in results] == ["r0", "r1", "r2"]


def test_a_batch_in_one_call_names_the_requests_that_failed(tmp_path, space):
    class Strict(Own):
        def rewards(self, states, requests):
            if bad := tuple(i for i, request in enumerate(requests) if request.response == "bad"):
                raise ScoreError("no such token", bad, "no_token")
            return super().rewards(states, requests)

    actor = make(tmp_path, space, Strict())

    async def main():
        good = await actor.score_batch([RewardRequest("ann", "Hi", "x" * n) for n in (1, 3)])
        bad = actor.score_batch([RewardRequest("ann", "Hi", text) for text in ("x", "bad", "y", "bad")])
        return good, await asyncio.gather(bad, return_exceptions=True)

    good, (error,) = asyncio.run(main())
    assert [result.reward for result in good] == [11, 13]
    assert (type(error), error.rows, error.kind) == (ScoreError, (1, 3), "no_token")


def test_no_user_lifts_what_is_unsafe(tmp_path, space):
    actor = make(tmp_path, space, postprocess={"floor": FLOOR}, safety=MODEL)
    good, bad = ask(
        actor, RewardRequest("ann", "Hi", "a spoon"), RewardRequest("ann", "Hi", "a knife, and more of what ann likes")
    )
    assert good.reward == 17
    assert bad.reward == -5
    assert (good.trace.metrics[H + "unsafe"], bad.trace.metrics[H + "unsafe"]) == (0, 1)


def test_thin_evidence_is_pulled_to_the_prior_which_is_scored_in_the_same_batch(tmp_path, space):
    actor = make(tmp_path, space, postprocess={"shrinkage": {"by": "items", "k": 8}})
    known, stranger = ask(actor, RewardRequest("ann", "Hi", "Yes."), RewardRequest(None, "Hi", "Yes."))
    assert known.reward == 4, "no item behind ann: the prior's"
    assert stranger.reward == 4
    assert actor.bundle.method.calls == [2, 1], (
        "both rows, then ann's again for nobody; a stranger is the prior already"
    )


def test_a_bad_row_of_the_prior_is_that_row_also_among_strangers(tmp_path, space):
    class Picky(Own):
        def rewards(self, states, requests):
            rows = enumerate(zip(states, requests, strict=True))
            bad = tuple(i for i, (state, request) in rows if request.response == "bad" and state.user_id is None)
            if bad and len(self.calls) > 0:
                raise ScoreError("not finite", bad, "not_finite")
            return super().rewards(states, requests)

    actor = make(tmp_path, space, Picky(), postprocess={"shrinkage": {"by": "items"}})
    stranger, good, bad = ask(
        actor, RewardRequest(None, "Hi", "Yes."), RewardRequest("ann", "Hi", "No."), RewardRequest("ann", "Hi", "bad")
    )
    assert (stranger.reward, good.reward) == (4, 3)
    assert (type(bad), bad.kind, bad.rows) == (ScoreError, "not_finite", ())


def test_an_option_without_its_model_stops_the_actor_before_it_serves(tmp_path, space):
    for name, keys in (("a", {"mix": {"weight": 0.5}}), ("b", {"floor": FLOOR})):
        with pytest.raises(RecipeError, match=r"postprocess needs a (universal|safety) model"):
            make(tmp_path / name, space, postprocess=keys)
    with pytest.raises(RecipeError, match="groups have none"):
        make(tmp_path / "c", space, postprocess={"shrinkage": {"by": "std"}}, groups={"size": 2})


def test_a_restarted_actor_goes_on_with_its_statistics(tmp_path, space, monkeypatch):
    monkeypatch.setattr("persona_rm.serving.actor.saved_statistics.SAVE_SECONDS", 0.0)
    settings = {"standardise": "user", "minimum": 2}
    first = make(tmp_path, space, postprocess=settings)
    ask(first, *[RewardRequest("ann", "Hi", "x" * n) for n in range(1, 9)])
    again = make(tmp_path, space, postprocess=settings)
    assert again.postprocess.state() == first.postprocess.state()
    (reply,) = ask(again, RewardRequest("ann", "Hi", "x"))
    assert reply.trace.metrics[H + "standardise_own"] == 1
    assert reply.reward < 0


def test_an_actor_that_ends_in_order_loses_no_statistics(tmp_path, space):
    settings = {"standardise": "user", "minimum": 2}
    first = make(tmp_path, space, postprocess=settings)
    ask(first, *[RewardRequest("ann", "Hi", "x" * n) for n in range(1, 9)])
    asyncio.run(first.close())
    again = make(tmp_path, space, postprocess=settings)
    assert again.postprocess.own.get("ann").count == 8
    assert again.postprocess.state() == first.postprocess.state()


def test_equal_samples_are_rewarded_equally_while_the_statistics_move(tmp_path, space):
    actor = make(tmp_path, space, postprocess={"standardise": "user", "minimum": 2})
    ask(actor, *[RewardRequest("ann", "Hi", "x" * n) for n in range(1, 5)])
    (first,) = ask(actor, RewardRequest("ann", "Hi", "the same"))
    ask(actor, *[RewardRequest("ann", "Hi", "y" * n) for n in range(20, 40)])
    (again,) = ask(actor, RewardRequest("ann", "Hi", "the same"))
    (cut,) = ask(actor, RewardRequest("ann", "Hi", "the same", finished=False))
    assert again.reward == first.reward != cut.reward
    assert again.trace.steps == first.trace.steps
    assert again.trace.request_id != first.trace.request_id
    assert actor.postprocess.own.get("ann").count == 4 + 20 + 3, "each of them counts"


def test_the_samples_of_a_prompt_are_rewarded_together(tmp_path, space):
    actor = make(tmp_path, space, groups={"size": 3, "normalise": "ranked"}, postprocess={"monitor": True})
    asks = [RewardRequest("ann", "Hi", "x" * n) for n in (5, 1, 3)]
    replies = ask(actor, *asks)
    assert [reply.reward for reply in replies] == [1, -1, 0]
    assert {reply.trace.metrics["persona_rm/group/n"] for reply in replies} == {3}


def test_two_rollouts_of_one_prompt_at_once_are_two_groups(tmp_path, space):
    actor = make(tmp_path, space, groups={"size": 2, "normalise": "centred"})
    samples = [("one", 1), ("two", 5), ("one", 3), ("two", 25), (None, 2), (None, 8)]
    replies = ask(actor, *[RewardRequest("ann", "Hi", "x" * n, group=group) for group, n in samples])
    assert [reply.reward for reply in replies] == [-1, -10, 1, 10, -3, 3]
    assert {reply.trace.metrics["persona_rm/group/n"] for reply in replies} == {2}


def test_what_became_of_a_group_is_counted(tmp_path, space):
    actor = make(tmp_path, space, groups={"size": 2, "wait": 0.05, "max_groups": 1})

    async def main():
        calls = [
            actor.score(RewardRequest("ann", "Hi", "x"), deadline=0.01),
            actor.score(RewardRequest("ann", "Hi", "y", group="g")),
        ]
        await asyncio.gather(*calls, return_exceptions=True)
        await asyncio.gather(actor.score(RewardRequest("ann", "Hi", "x")), return_exceptions=True)
        return (await actor.info())["rows"]

    assert asyncio.run(main()) == {"scored": 0, "shared": 0, "late": 2, "left": 0, "full": 1, "failed": 0}


def test_a_group_that_stays_incomplete_is_an_error_or_what_the_recipe_says(tmp_path, space):
    fail = make(tmp_path / "a", space, groups={"size": 3, "wait": 0.05})
    (error,) = ask(fail, RewardRequest("ann", "Hi", "x"))
    assert isinstance(error, ScoreError)
    assert "1 of 3 samples" in str(error)
    partial = make(
        tmp_path / "b", space, groups={"size": 3, "wait": 0.05, "fallback": "partial", "normalise": "centred"}
    )
    replies = ask(partial, RewardRequest("ann", "Hi", "x"), RewardRequest("ann", "Hi", "xxx"))
    assert [reply.reward for reply in replies] == [-1, 1]
    assert [reply.trace.metrics["persona_rm/group/partial"] for reply in replies] == [1, 1]


def test_methods_without_a_scalar_are_rewarded_by_whom_a_response_beats(tmp_path, space):
    actor = make(tmp_path, space, Cyclic(None, None, None), groups={"size": 3, "listwise": True})
    replies = ask(actor, *[RewardRequest("ann", "Hi", text) for text in ("paper", "stone", "stone")])
    assert [reply.reward for reply in replies] == [1, 0.25, 0.25]
    assert actor.counts["scored"] == 3
