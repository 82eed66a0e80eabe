"""Recipes that name own users and prompts: nothing is simulated, and nothing is inferred in silence."""

import json
import random

import pytest

from persona_rm.bundle import load_bundle, write_bundle
from persona_rm.errors import DataError, RecipeError
from persona_rm.hosts import load_host
from persona_rm.hosts.base import LabelledPrompt
from persona_rm.pipeline.job import run_recipe
from persona_rm.pipeline.members import annotator_of, truth_of
from persona_rm.pipeline.own_users import (
    asked_in,
    comparisons_of,
    examples_of_users,
    read_own_users,
    with_directions,
)
from persona_rm.pipeline.rehearse import rehearsal_of
from persona_rm.pipeline.stages.ppo import bundle_of, users_of
from persona_rm.pipeline.stages.train import examples_for
from persona_rm.recipe import Recipe, load_recipe, save_recipe
from persona_rm.serving.labels import read_label
from persona_rm.simulator.simulated_language import load_language
from persona_rm.types import Message, RewardRequest
from persona_rm.users.own_prompts import read_own_prompts
from tests.pipeline.stages.infer_samples import run_of

POSTERIOR = {"name": "posterior", "classes": [1]}


def dims(space):
    """The dimensions of which the simulator's language has words for both poles."""
    words = load_language(space).wordings
    return [dim for dim in range(len(space)) if (dim, 1) in words and (dim, -1) in words]


def say(space, nth, way, seed=0):
    return load_language(space).write({dims(space)[nth]: way}, "any", random.Random(seed))


@pytest.fixture
def users(tmp_path, space):
    """Twelve users: half like what the first dimension says, half dislike it, by six comparisons each."""
    path = tmp_path / "users.jsonl"
    rows = []
    for i in range(12):
        way = 1 if i % 2 else -1
        pairs = [
            {"prompt": f"ask {i} {n}", "chosen": say(space, 0, way, n), "rejected": say(space, 0, -way, n)}
            for n in range(6)
        ]
        rows.append({"user_id": f"u{i}", "pairs": pairs, "group": "likes" if i % 2 else "dislikes"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def own_run(folder, **sections):
    """A run of a recipe without a source."""
    run = run_of(folder)
    run.recipe = Recipe(name="own", annotator="simulator", out=str(folder / "run"), **sections)
    return run


def test_users_without_a_source_have_no_simulator_and_the_encoder_reads_them(users):
    recipe = Recipe(name="own", infer={"users": users})
    assert truth_of(recipe) is None
    assert annotator_of(recipe) == {"name": "encoder"}
    named = Recipe(name="own", source="simulator", infer={"users": users})
    assert truth_of(named) is not None
    assert annotator_of(named) != {"name": "encoder"}


def test_a_saved_recipe_without_a_source_stays_without_one(tmp_path, users):
    save_recipe(Recipe(name="own", infer={"users": users}), tmp_path / "recipe.yaml")
    assert truth_of(load_recipe(tmp_path / "recipe.yaml")) is None


def test_the_inferrer_learns_from_the_users_given(tmp_path, users, space):
    run = own_run(tmp_path, infer={"users": users, "inferrer": POSTERIOR}, report=False)
    folder = run_recipe(run.recipe, run.console)
    rows = [json.loads(line) for line in (folder / "infer" / "directions.jsonl").read_text().splitlines()]
    first = dims(space)[0]
    assert {row["user_id"]: row["directions"][first] for row in rows} == {
        f"u{i}": 1 if i % 2 else -1 for i in range(12)
    }
    assert not (folder / "build").exists()


def test_an_annotator_that_reads_nothing_is_refused_before_anything_is_built(tmp_path):
    path = tmp_path / "english.jsonl"
    pair = {"prompt": "Hello?", "chosen": "Two short steps.", "rejected": "A long essay about it."}
    path.write_text(json.dumps({"user_id": "ann", "pairs": [pair]}) + "\n")
    run = own_run(tmp_path, source="simulator", build={}, infer={"users": str(path)})
    with pytest.raises(
        RecipeError, match=r"infer\.users=.*'simulator' reads no preference in any of 2 texts.*encoder"
    ):
        run_recipe(run.recipe, run.console)
    assert not (run.folder / "build").exists()


def test_evidence_that_is_too_little_for_any_direction_is_a_warning(tmp_path, space):
    path = tmp_path / "mixed.jsonl"
    rows = [
        {"user_id": f"u{i}", "ugc": [{"prompt": "q", "comment": say(space, i, 1)}, {"prompt": "q", "comment": "no"}]}
        for i in range(3)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    strict = {"name": "vote", "positive": 0.99}
    run = own_run(tmp_path, infer={"users": str(path), "inferrer": strict}, report=False)
    run_recipe(run.recipe, run.console)
    said = run.console.file.getvalue()
    assert "warning: nothing was inferred: 0 directions for 3 users from 6 items" in said


def test_users_whose_items_all_say_nothing_are_an_error(tmp_path, space):
    path = tmp_path / "neutral.jsonl"
    item = {"prompt": "q", "comment": "no", "directions": [0] * len(space)}
    path.write_text("".join(json.dumps({"user_id": f"u{i}", "ugc": [item]}) + "\n" for i in range(3)))
    run = own_run(tmp_path, infer={"users": str(path), "inferrer": {"name": "vote"}}, report=False)
    with pytest.raises(DataError, match="nothing was inferred: 0 directions for 3 users from 3 items"):
        run_recipe(run.recipe, run.console)


@pytest.mark.parametrize("key", ["infer", "ppo", "dpo"])
def test_a_missing_file_is_named_by_its_key(tmp_path, key):
    section = {"infer": {"users": "no.jsonl"}, "ppo": {"a": {"users": "no.jsonl", "reward": "pba_linear"}}}
    section["dpo"] = {"a": {"users": "no.jsonl", "method": "pba"}}
    run = own_run(tmp_path, **{key: section[key]})
    with pytest.raises(RecipeError, match=rf"{key}(\.a)?\.users: there is no file no\.jsonl"):
        run_recipe(run.recipe, run.console)


def test_a_ppo_section_with_own_users_and_prompts_makes_a_bundle_that_scores_them(tmp_path, users, space):
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text('{"prompt": "a", "user": "u3"}\n{"prompt": "b"}\n{"prompt": "c", "user": "zoe"}\n')
    section = {"reward": "pba_linear", "users": users, "prompts": str(prompts), "inferrer": POSTERIOR}
    run = own_run(tmp_path, ppo={"own": section})
    config = run.recipe.ppo["own"]
    own, asked = users_of(run, config)
    assert asked == [("u3", "a"), ("u1", "b"), ("zoe", "c")]
    bundle = load_bundle(bundle_of(run, config, tmp_path / "ppo", own))
    texts = [say(space, 0, way) for way in (1, -1)]
    rewards = [r.reward for r in bundle.score([RewardRequest(u, "q", t) for u in ("u1", "u0") for t in texts])]
    assert rewards == [1.0, -1.0, -1.0, 1.0]
    assert {user.group for user in bundle.users.values()} == {"likes", "dislikes"}


def test_prompts_by_number_are_those_of_the_users_own_items(tmp_path, users):
    run = own_run(tmp_path, ppo={"own": {"reward": "pba_linear", "users": users, "prompts": 7}})
    _, asked = users_of(run, run.recipe.ppo["own"])
    assert asked == [("u0", f"ask 0 {n}") for n in range(6)] + [("u1", "ask 1 0")]


def test_a_bundle_as_users_is_used_as_it_is(tmp_path, users, space):
    own = with_directions(read_own_users(users, space), own_backends())
    folder = write_bundle(tmp_path / "b", own, method={"name": "pba_linear"}, annotator={"name": "simulator"})
    run = own_run(tmp_path, ppo={"own": {"reward": "pba_linear", "users": str(folder), "prompts": 3}})
    config = run.recipe.ppo["own"]
    read, _ = users_of(run, config)
    assert bundle_of(run, config, tmp_path / "ppo", read) == folder.resolve()
    assert not (tmp_path / "ppo").exists()


def own_backends():
    from persona_rm.pipeline.members import backends_of

    return backends_of(Recipe(name="own", annotator="simulator"))


def test_dpo_examples_leave_the_pair_out_of_its_own_persona(tmp_path, users, space):
    run = own_run(tmp_path, dpo={"pba": {"method": "pba", "users": users, "rows": 8}})
    examples = examples_for(run, run.recipe.dpo["pba"])
    assert len(examples) == 12 * 6
    for example in examples:
        assert len(example.persona.pairs) == 5
        assert example.chosen not in {pair.chosen for pair in example.persona.pairs if pair.prompt == example.prompt}
    assert {example.directions[dims(space)[0]] for example in examples} == {-1, 1}


def test_users_without_comparisons_are_no_examples(tmp_path, space):
    path = tmp_path / "texts.jsonl"
    path.write_text('{"user_id": "ann", "ugc": [{"prompt": "q", "comment": "c"}]}\n')
    read = read_own_users(path, space)
    assert comparisons_of(read) == []
    with pytest.raises(DataError, match="no user of the users file has a comparison"):
        examples_of_users(read)


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ('{"text": "p"}', "no column holds prompts; name one of them prompt, input.*the row has: text"),
        ('{"prompt": " "}', r"row 1, key 'prompt'.*the prompt is empty"),
        ('{"prompt": [{"role": "user", "content": "p"}, {"role": "system", "content": "s"}]}', "row 1.*a system turn"),
        ('{"prompt": "p", "user": [1]}', "found list"),
    ],
)
def test_a_prompts_file_that_cannot_be_read_says_why(tmp_path, users, space, row, told):
    path = tmp_path / "prompts.jsonl"
    path.write_text(row + "\n")
    with pytest.raises(DataError, match=told):
        asked_in(str(path), read_own_users(users, space))


def test_prompts_of_several_turns_keep_them_and_the_file_holds_one_kind(tmp_path):
    ask, reply, more = (
        {"role": role, "content": text} for role, text in (("user", "Tea?"), ("assistant", "Yes."), ("user", "Milk?"))
    )
    path = tmp_path / "prompts.jsonl"
    path.write_text(json.dumps({"prompt": "Well?"}) + "\n" + json.dumps({"prompt": [ask]}) + "\n")
    assert [row.prompt for row in read_own_prompts(path)] == ["Well?", "Tea?"]
    path.write_text(json.dumps({"prompt": "Well?"}) + "\n" + json.dumps({"prompt": [ask, reply, more]}) + "\n")
    turns = [row.prompt for row in read_own_prompts(path)]
    assert turns == [(Message("user", "Well?"),), tuple(Message(**turn) for turn in (ask, reply, more))]
    [row] = load_host("openrlhf").labels([LabelledPrompt("text", "u", turns[1])])
    assert row == {"prompt": "text", "label": {"user": "u", "prompt": [ask, reply, more]}}
    assert read_label(row["label"]).prompt == turns[1]


def test_a_rehearsal_says_whose_users_it_uses(users):
    own = Recipe(name="own", ppo={"a": {"users": users, "reward": "pba_linear"}})
    other = Recipe(name="own", ppo={"a": {"reward": "pba_linear"}})
    assert any(f"ppo.a.users: your own users, of {users}" in line for line in rehearsal_of(own)[1])
    assert any("ppo.a.users: simulated users, not yours: name" in line for line in rehearsal_of(other)[1])
