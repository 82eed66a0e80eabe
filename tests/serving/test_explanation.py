"""explain: a reward in words, live and from the log, with the user's history behind it."""

import asyncio
import json

import pytest

from persona_rm.bundle import User, load_bundle, write_bundle
from persona_rm.errors import DataError, RecipeError
from persona_rm.profiles import open_store
from persona_rm.serving.actor.reward_actor import RewardActor
from persona_rm.serving.explanation import explain_logged, explain_request, lines_of
from persona_rm.simulator.simulated_language import load_language
from persona_rm.types import Pair, Persona, RewardRequest, Ugc
from tests.profiles.store_samples import new_store

LIKED, DISLIKED = "neuroticism", "extraversion"
ANNOTATED = {"method": {"name": "pba_linear"}, "annotator": {"name": "simulator"}}


@pytest.fixture
def run(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def response(space):
    """Strong on both dimensions: what ann likes on one, what she dislikes on the other."""
    import random

    return load_language(space).write({space.index(LIKED): 1, space.index(DISLIKED): 1}, "any", random.Random(0))


def votes(space, name, way):
    return tuple(way * int(dim == space.index(name)) for dim in range(len(space)))


def make(run, space, **keys):
    """ann likes one dimension by four posts, and dislikes another by five choices."""
    posts = tuple(Ugc(f"question {i}", f"this worries me {i}", votes(space, LIKED, 1)) for i in range(4))
    choices = tuple(Pair(f"ask {i}", "stay in", "go out", votes(space, DISLIKED, -1)) for i in range(5))
    ann = User(Persona("ann", posts, choices), "cats")
    return write_bundle(run / "bundle", [ann], relative_to=run / "bundle", **{**ANNOTATED, **keys})


def logged(run, *requests):
    actor = RewardActor(str(run / "bundle"), "reward-0", str(run))

    async def main():
        return await asyncio.gather(*[actor.score(request) for request in requests])

    results = asyncio.run(main())
    actor.bundle.close()
    return results


WEIGHTS = {"name": "pba_linear", "weights": {LIKED: 3.0}}


def test_a_reward_is_told_by_dimension_with_the_items_behind_each_and_every_step(run, space, response):
    postprocess = {"shrinkage": {"by": "items", "k": 9}, "clip": [-0.5, 0.5]}
    folder = make(run, space, method=WEIGHTS, postprocess=postprocess)
    explained = explain_request(folder, RewardRequest("ann", "What?", response))
    assert (explained.result.trace.raw, explained.result.reward) == (2.0, 0.5)
    assert explained.result.trace.parts == {LIKED: 3.0, DISLIKED: -1.0}
    lines = lines_of(explained)
    assert lines[0] == "The reward is 0.5 for user 'ann' of group 'cats': the user is known."
    assert "not stored, from 9 items of evidence." in lines[1]
    start = lines.index("The method 'pba_linear' gives 2, the sum of:")
    part = next(line for line in lines[start:] if line.startswith("  +3"))
    assert part.endswith("the user's direction is 'High Neuroticism'; the response is high in it, 'High Neuroticism'")
    behind = lines[lines.index(part) + 1 : lines.index(part) + 5]
    assert {line[14:] for line in behind} == {f'wrote "this worries me {i}" under "question {i}"' for i in range(4)}
    other = next(line for line in lines[start:] if line.startswith("  -1"))
    assert other.endswith(
        "the user's direction is 'Low Extraversion'; the response is high in it, 'High Extraversion'"
    )
    behind = lines[lines.index(other) + 1 : lines.index(other) + 6]
    assert {line[14:] for line in behind} == {f'preferred "stay in" to "go out" under "ask {i}"' for i in range(5)}
    assert lines[-3:] == [
        "Post-processing:",
        "  shrinkage: 2 -> 1, moved toward the prior's reward 0, as the evidence is 9 items",
        "  clip: 1 -> 0.5, limited to the range [-0.5, 0.5]",
    ]


def test_a_logged_reward_is_found_by_its_id_and_told_the_same_way(run, space, response):
    make(run, space, method=WEIGHTS, postprocess={"clip": [-0.5, 0.5]})
    request = RewardRequest("ann", "What?", response)
    (_, result) = logged(run, RewardRequest("ann", "What?", "nothing"), request)
    found = explain_logged(run, result.trace.request_id)
    assert (found.result.reward, found.result.trace.steps) == (result.reward, result.trace.steps)
    lines, live = lines_of(found), lines_of(explain_request(run / "bundle", request))
    assert lines[0] == live[0]
    assert result.trace.request_id in lines[1]
    assert len(lines) == len(live)
    assert lines[-2:] == live[-2:]
    part = next(line for line in lines if line.startswith("  +3"))
    assert part.endswith("the user's direction is 'High Neuroticism'; the response agrees with it")
    assert [line for line in lines if line.startswith("    ")] == [line for line in live if line.startswith("    ")]
    row = found.to_row()
    assert row["reward"] == result.reward
    assert sum(row["parts"].values()) == row["raw"]
    assert len(row["evidence_by_dimension"][LIKED]) == 4
    assert set(row["evidence_by_dimension"][LIKED]) <= set(row["evidence"])
    assert json.loads(json.dumps(row)) == row


def test_without_a_bundle_beside_the_log_the_trace_is_shown_and_says_so(run, space, response):
    folder = make(run, space)
    (result,) = logged(run, RewardRequest("ann", "What?", response))
    folder = folder.rename(run.parent / "moved")
    lines = lines_of(explain_logged(run, result.trace.request_id))
    assert "name the bundle to see more" in lines[2]
    assert f"  +1  {LIKED}" in lines
    named = lines_of(explain_logged(run, result.trace.request_id, folder))
    assert any("'High Neuroticism'" in line for line in named)


def test_a_state_that_changed_since_the_reward_is_pointed_out(run, space, response):
    make(run, space, profiles=new_store(run / "bundle"))
    (result,) = logged(run, RewardRequest("ann", "What?", response))
    bundle = load_bundle(run / "bundle")
    tally, _ = bundle.user_states.tally("ann")
    bundle.store.put([bundle.user_states.stateful.state("ann", tally, 4)])
    bundle.close()
    lines = lines_of(explain_logged(run, result.trace.request_id))
    assert "it is version 4 now" in lines[2]


def test_a_user_that_the_bundle_does_not_know_is_an_error_that_names_the_prior(run, space):
    folder = make(run, space, profiles=new_store(run / "bundle"))
    with pytest.raises(DataError, match=r"'zoe' is not in this bundle\. Rewards for unknown users come from"):
        explain_request(folder, RewardRequest("zoe", "a", "b"))
    with open_store(f"sqlite:{folder / 'p.sqlite'}") as store:
        store.erase(["ann"])
    with pytest.raises(DataError, match=r"'ann' was erased from this bundle\. Rewards for unknown"):
        explain_request(folder, RewardRequest("ann", "a", "b"))
    lines = lines_of(explain_request(folder, RewardRequest(None, "a", "b")))
    assert lines[0].endswith(
        "a request without a user: no evidence about a user was read, so the population prior answered."
    )


def test_a_missing_run_and_an_unknown_id_are_errors(run, space, response):
    make(run, space)
    with pytest.raises(DataError, match="nowhere: there is no such run folder"):
        explain_logged(run / "nowhere", "r1")
    with pytest.raises(DataError, match="there is no reward log here"):
        explain_logged(run, "r1")
    logged(run, RewardRequest("ann", "What?", response, request_id="r1"))
    with pytest.raises(DataError, match="none of the 1 reward logs here has a reward with the request id 'r2'"):
        explain_logged(run, "r2")
    (run / "rewards" / "old.jsonl").write_text('{"request_id": "r3", "reward": 1.0, "dims": {}}\n')
    with pytest.raises(DataError, match="the line of request 'r3' was written by another version"):
        explain_logged(run, "r3")


def test_a_log_line_that_is_cut_off_is_named_with_its_row(run, space, response):
    make(run, space)
    logged(run, RewardRequest("ann", "What?", response, request_id="r1"))
    (log,) = (run / "rewards").glob("*.jsonl")
    with log.open("a") as lines:
        lines.write('{"request_id": "r2", "reward": 1.0, "par')
    assert explain_logged(run, "r1").result.trace.request_id == "r1"
    with pytest.raises(DataError, match=rf"{log.name}, row 2: this line is incomplete"):
        explain_logged(run, "r2")


def test_groups_are_said_and_a_method_that_only_compares_cannot_be_explained_alone(run, space, response):
    folder = make(run, space, groups={"size": 2, "normalise": "centred"}, postprocess={"standardise": "all"})
    lines = lines_of(explain_request(folder, RewardRequest("ann", "What?", response)))
    assert "makes the rewards of a group centred" in lines[2]
    assert "not standardised" in lines[3]
    with pytest.raises(RecipeError, match="a single one has no reward"):
        explain_request(
            make(run, space, groups={"size": 2, "listwise": True}), RewardRequest("ann", "What?", response)
        )


FLAT = """
from persona_rm.methods.base import Method
from persona_rm.types import UserState


class Flat(Method):
    name = "flat"

    @property
    def reads(self):
        return "nothing"

    def adapt(self, evidence, state=None):
        return UserState(self.name, evidence.user_id, {}, evidence.n_items)

    def rewards(self, states, requests):
        return [self.result(state, request, 0.5) for state, request in zip(states, requests, strict=True)]
"""


def test_a_reward_that_ignores_the_user_is_not_explained_by_the_users_items(tmp_path):
    (tmp_path / "flat.py").write_text(FLAT)
    ann = Persona("ann", pairs=(Pair("q", "a long walk", "a nap"),))
    bundle = write_bundle(
        tmp_path / "b", [ann], method="./flat.py:Flat", inferrer=None, policy_prompt="plain", relative_to=tmp_path
    )
    shown = "\n".join(lines_of(explain_request(bundle, RewardRequest("ann", "q", "a nap"))))
    assert "gives 0.5, as it does to every user: it does not read the user's history." in shown
    assert "a long walk" not in shown
