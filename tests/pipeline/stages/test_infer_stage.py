"""The infer stage: what its rows say, who is read, what is done again, and what real data keep from it."""

import json
from pathlib import Path

import numpy as np
import pytest

from persona_rm.backends.base import Backends
from persona_rm.bundle import load_bundle, read_file
from persona_rm.errors import DataError, RecipeError
from persona_rm.inferrers.evidence import items_of
from persona_rm.inferrers.posterior import PosteriorInferrer
from persona_rm.pipeline.members import backends_of, simulator_of
from persona_rm.pipeline.stages.infer import fitted, population
from persona_rm.pipeline.stages.ppo import _judging_bundle, bundle_inputs, bundle_of, run_one, users_of
from persona_rm.profiles import open_store
from persona_rm.recipe import PpoConfig
from persona_rm.simulator.simulator import Simulator
from persona_rm.types import Pair, Persona, RewardRequest, Ugc, UserState
from persona_rm.users.annotated_users import annotated
from tests.pipeline.stages.infer_samples import FAST, infer, real, rows_of, run_of, states_of


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return infer(tmp_path_factory.mktemp("infer"))


def test_a_row_says_how_sure_it_is(done, space):
    for row in rows_of(done):
        assert (row["items"], row["cold"]) == (6, False)
        p = np.array(row["probabilities"])
        assert p.shape == (len(space), 3)
        np.testing.assert_allclose(p.sum(1), 1, atol=3e-6)
        for (low, high), each, direction in zip(row["intervals"], p, row["directions"], strict=True):
            assert each[low + 1 : high + 2].sum() >= 0.95 - 1e-5
            assert not direction or each[direction + 1] > each[1 - direction]


def test_the_evidence_is_the_persons_own_and_speaks_for_the_direction(done, space):
    world = simulator_of(done.recipe)
    rows = {row["user_id"]: row for row in rows_of(done)}
    for person in world.users("test"):
        votes = {item.id: item.votes for item in items_of(world.persona(person, "test", 3, 3), len(space))}
        for name, ids in rows[person.id]["evidence"].items():
            dim = space.ids.index(name)
            assert votes[ids[0]][dim] == rows[person.id]["directions"][dim], "the strongest"
            assert all(votes[id_][dim] for id_ in ids)


def test_states_resume_to_the_rows(done, space):
    inferrer, states = PosteriorInferrer.load(done.folder / "infer" / "model", space), states_of(done)
    assert states.keys() == {row["user_id"] for row in rows_of(done)}
    for row in rows_of(done):
        found = inferrer.of(inferrer.resume(states[row["user_id"]]))
        assert list(found.directions) == row["directions"]
        np.testing.assert_allclose(found.probabilities, row["probabilities"], atol=1e-6)


def test_a_second_run_is_skipped_and_another_config_is_not(tmp_path):
    first = infer(tmp_path)
    again = infer(tmp_path)
    assert "infer: done before, skipped" in again.console.file.getvalue()
    assert rows_of(again) == rows_of(first)
    other = infer(tmp_path, items=4)
    assert "done before" not in other.console.file.getvalue()
    assert {row["items"] for row in rows_of(other)} == {4}


def test_the_same_recipe_gives_the_same_bytes_elsewhere(done, tmp_path):
    again = infer(tmp_path)
    for name in ("directions.jsonl", "profiles.arrow", "model/model.safetensors"):
        assert (again.folder / "infer" / name).read_bytes() == (done.folder / "infer" / name).read_bytes(), name


def test_vote_has_directions_and_no_states(tmp_path):
    run = infer(tmp_path, inferrer="vote")
    assert len(rows_of(run)) == 5
    assert not (run.folder / "infer" / "profiles.arrow").exists()


def test_an_odd_number_of_items_is_that_many(tmp_path):
    assert {row["items"] for row in rows_of(infer(tmp_path, items=5))} == {5}


def test_people_of_a_file_are_read_where_they_carry_no_directions(tmp_path, space):
    """Texts of the embedded world by its own wordings, both sides of a pair; given directions as they are."""
    world = simulator_of(run_of(tmp_path).recipe)
    seen = world.persona(world.users("test")[0], "test", 3, 3)
    bare = {
        "user_id": "bare", "ugc": [{"prompt": u.prompt, "comment": u.comment} for u in seen.ugc],
        "pairs": [{"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in seen.pairs],
    }  # fmt: skip
    given = {"user_id": "given", "ugc": [{"prompt": "p", "comment": "?", "directions": [-1, *[0] * (len(space) - 1)]}]}
    users = tmp_path / "users.jsonl"
    users.write_text("".join(json.dumps(one) + "\n" for one in (bare, given, {"user_id": "nobody"})))
    run = infer(tmp_path, users=str(users))
    assert [(row["user_id"], row["items"], row["cold"]) for row in rows_of(run)] == [
        ("bare", 6, False), ("given", 1, False), ("nobody", 0, True)
    ]  # fmt: skip
    assert "3 users (1 cold)" in run.console.file.getvalue()
    kept = states_of(run)
    assert [entry[2:] for entry in kept["given"].payload["items"].values()] == [[[0], []]]
    spoken = {dim for entry in kept["bare"].payload["items"].values() for dim in (*entry[2], *entry[3])}
    assert spoken & set(world.language.active)
    assert not kept["nobody"].payload["items"]


def test_a_population_of_the_world_is_its_training_people_with_their_directions(tmp_path, space):
    run = run_of(tmp_path)
    found = population(run, 10, 5)
    world = simulator_of(run.recipe)
    assert [one.user_id for one in found] == [person.id for person in world.users("train")[:10]]
    assert [one.directions for one in found] == [person.directions for person in world.users("train")[:10]]
    assert {(len(one.ugc), len(one.pairs)) for one in found} == {(3, 2)}
    posts = {post.text for post in world.posts("test")}
    assert not posts & {item.prompt for one in found for item in one.items}
    other = Simulator(world.config.model_copy(update={"kind": "clusters"}), space)
    golden = [person.directions for person in other.users("train")[:3]]
    assert [one.directions for one in population(run, 3, 4, other)] == golden


def test_of_real_data_given_directions_are_kept_away(tmp_path, space):
    """They are no truth: neither learned from, nor calibrated on, nor handed on as what was inferred."""
    down = (0, -1, *[0] * (len(space) - 2))
    recipe = real(tmp_path, space, lambda i: Persona(f"test{i}", directions=down))
    run = infer(tmp_path, {**recipe, "build": {}})
    assert {one.directions for one in population(run)} == {None}
    assert len(population(run)) == 24
    assert {one.user_id[:5] for one in population(run)} == {"train"}
    learned = fitted(run, FAST)
    assert learned.fitted["calibrated_on"] == 0
    assert [row["user_id"] for row in rows_of(run)] == ["test0", "test1", "test2"]
    assert all(row["directions"][1] == 0 and row["items"] == 1 for row in rows_of(run))


def test_one_id_with_different_evidence_is_refused(tmp_path, space):
    recipe = real(tmp_path, space, lambda i: Persona("twice"))
    with pytest.raises(DataError, match=r"user 'twice' comes twice with different evidence"):
        infer(tmp_path, {**recipe, "build": {}})


def test_a_stores_version_goes_on_from_what_is_there(tmp_path):
    url = f"sqlite:{tmp_path / 'people.sqlite'}"
    with open_store(url, create=True) as store:
        store.put([UserState("posterior", "test-0001", {}, version=7), UserState("posterior", "other", {}, version=3)])
    infer(tmp_path, store=url)
    with open_store(url) as store:
        versions = {user: state.version for user, state in store.get(sorted(store.ids())).items()}
    assert versions == {"other": 3, **{f"test-{i:04d}": 8 if i == 1 else 1 for i in range(5)}}
    assert not (tmp_path / "run" / "infer" / "profiles.arrow").exists()


class Counting:
    """Level 3 on the first dimension for texts that end in "!", 1 for those that end in "?"."""

    def __init__(self):
        self.asked = []

    def levels(self, prompts, texts):
        self.asked.append(list(zip(prompts, texts, strict=True)))
        return [({"!": 3, "?": 1}.get(text[-1], 2), 2) for text in texts]


def test_items_without_directions_are_read_once_each_in_one_call():
    people = [
        Persona("a", (Ugc("p", "yes!"), Ugc("p", "no?"), Ugc("q", "yes!"), Ugc("p", "given", (0, 1)))),
        Persona("b", (Ugc("p", "yes!"),), (Pair("p", "yes!", "hm"), Pair("p", "yes!", "no?"), Pair("p", "hm", "hm"))),
    ]
    reader = Counting()
    found = annotated(people, Backends(reader=reader))
    assert [item.directions for item in found[0].items] == [(1, 0), (-1, 0), (1, 0), (0, 1)]
    assert [item.directions for item in found[1].items] == [(1, 0), (1, 0), (1, 0), (0, 0)]
    assert len(reader.asked) == 1
    assert sorted(reader.asked[0]) == [("p", "hm"), ("p", "no?"), ("p", "yes!"), ("q", "yes!")]
    assert annotated(found, Backends()) == found, "nothing to read"
    assert len(reader.asked) == 1


def test_the_worlds_texts_are_read_by_its_wordings(tmp_path):
    run = run_of(tmp_path)
    world = simulator_of(run.recipe)
    reply = world.reply(world.users("train")[0], world.posts("train")[0], "train")
    assert backends_of(run.recipe).need_reader("test").levels(["p"], [reply.text]) == [reply.levels]


def test_a_bundle_of_an_inferrer_that_learns_nothing_has_no_folder_for_it(tmp_path):
    run, config = run_of(tmp_path), PpoConfig(reward="pba_linear", inferrer={"name": "vote"}, users=3, prompts=3)
    bundle = load_bundle(bundle_of(run, config, tmp_path / "ppo", users_of(run, config)[0]))
    assert (bundle.file.inferrer_dir, bundle.inferrer.name) == (None, "vote")


def test_test_people_are_judged_with_the_same_fitted_inferrer(tmp_path):
    run = run_of(tmp_path)
    config = PpoConfig(reward="pba_linear", inferrer=FAST, annotator={"name": "simulator"}, users=4, prompts=4)
    users, _ = users_of(run, config)
    bundle = load_bundle(bundle_of(run, config, tmp_path / "ppo", users))
    judging = load_bundle(_judging_bundle(tmp_path / "ppo", users[:1]))
    assert list(judging.users) == [users[0].persona.user_id]
    np.testing.assert_array_equal(judging.inferrer.model.tables, bundle.inferrer.model.tables)
    assert bundle.inferrer.calibration.temperature == judging.inferrer.calibration.temperature


def test_a_reward_that_learns_is_fitted_on_the_training_side_and_goes_into_the_bundle(tmp_path, space):
    run = run_of(tmp_path, infer={"inferrer": "vote"}, **real(tmp_path, space, lambda i: Persona(f"test{i}")))
    config = PpoConfig(reward="bradley_terry", inferrer={"name": "vote"}, users=3, prompts=3)
    users, _ = users_of(run, config)
    bundle = load_bundle(bundle_of(run, config, tmp_path / "ppo", users))
    assert bundle.file.method_dir == str(tmp_path / "ppo" / "bundle" / "method")
    assert bundle.method.weights is not None
    learner = bundle.method
    good, bad = learner.score([learner.prior()] * 2, [RewardRequest(None, "p0", text) for text in ("good", "bad")])
    assert good.reward > bad.reward, "every comparison prefers good"
    judging = load_bundle(_judging_bundle(tmp_path / "ppo", users[:1]))
    np.testing.assert_array_equal(judging.method.weights, learner.weights)


def test_a_source_of_texts_gives_no_users_until_it_is_built(tmp_path):
    run = run_of(tmp_path, source={"name": "reddit", "path": "threads.jsonl"})
    with pytest.raises(RecipeError, match=r"built from the source 'reddit', and .* has none\. Build them first"):
        users_of(run, PpoConfig(reward="contrast", users=3, prompts=3))


def test_a_reward_that_learns_needs_built_comparisons(tmp_path):
    run, config = run_of(tmp_path), PpoConfig(reward="bradley_terry", inferrer={"name": "vote"}, users=3, prompts=3)
    with pytest.raises(RecipeError, match="bradley_terry is fitted on comparisons, and there are none"):
        bundle_of(run, config, tmp_path / "ppo", users_of(run, config)[0])


def test_postprocess_groups_and_the_models_beside_the_method_reach_the_bundle(tmp_path):
    given = {
        "postprocess": {"clip": [-3, 3], "floor": {"below": 0, "reward": -5}}, "groups": {"size": 4},
        "safety": {"method": {"name": "bradley_terry"}, "method_dir": "learned"},
    }  # fmt: skip
    run, config = run_of(tmp_path), PpoConfig(reward="pba_linear", inferrer="vote", users=3, prompts=3, **given)
    (tmp_path / "ppo" / "bundle" / "learned").mkdir(parents=True)
    file = read_file(bundle_of(run, config, tmp_path / "ppo", users_of(run, config)[0]))
    assert (file.postprocess, file.groups) == (config.postprocess, config.groups)
    assert file.safety.method_dir == str(Path("learned").resolve()), "of where the recipe is run"


@pytest.mark.parametrize(
    ("reward", "asked", "written"),
    [
        ("contrast", None, "method"),
        ("pba_linear", None, "pba"),
        ("contrast", "plain", "plain"),
        ("pba_linear", "ica", "ica"),
    ],
)
def test_the_policys_prompt_is_the_rewards_own_or_as_the_recipe_says(tmp_path, reward, asked, written):
    config = PpoConfig(reward=reward, policy_prompt=asked, inferrer="vote", users=3, prompts=3)
    run = run_of(tmp_path, ppo={"a": config.model_dump()})
    folder = bundle_of(run, config, tmp_path / "ppo", users_of(run, config)[0])
    assert read_file(folder).policy_prompt == written
    other = run_of(tmp_path, ppo={"a": config.model_copy(update={"policy_prompt": "pba"}).model_dump()})
    assert bundle_inputs(other.recipe, "a") != bundle_inputs(run.recipe, "a"), "the stage runs again"


def test_groups_need_the_agent(tmp_path):
    with pytest.raises(RecipeError, match="groups need agent: true"):
        run_one(run_of(tmp_path), "a", PpoConfig(agent=False, groups={"size": 4}), {})
