import shutil

import pytest
from rich.console import Console

from persona_rm.bundle import load_bundle, write_bundle
from persona_rm.errors import DataError, RecipeError
from persona_rm.pipeline.members import simulator_of
from persona_rm.pipeline.rehearse import rehearsal_of
from persona_rm.pipeline.run import RECORD, RunFolder
from persona_rm.pipeline.stages import on_policy
from persona_rm.recipe import Recipe, load_recipe
from tests.pipeline.stages.infer_samples import FAST
from tests.pipeline.stages.pair_samples import GAMING, NEITHER, SCIENCE, ScriptedSampler, read, write

ROUNDS = {"reward": "pba_linear", "rounds": 2, "samples": 4, "prompts": 6, "users": 3, "items": 4, "inferrer": FAST}


class Trained:
    """Stands for vLLM and the host's trainer: it notes what they were given, and the newest policy is a copy."""

    def __init__(self, monkeypatch, answers):
        self.asked, self.rows, self.starts = [], [], []
        self.answers = answers
        monkeypatch.setattr(on_policy, "engine_of", self.engine)
        monkeypatch.setattr(on_policy, "train_dpo", self.train)

    def engine(self, model, on):
        sampler = ScriptedSampler(self.answers)
        sampler.close = lambda: None
        self.asked.append((model, sampler.prompts))
        return sampler

    def train(self, run, base, rows, folder, args):
        self.starts.append(base)
        self.rows.append(read(rows))
        shutil.copytree(base, folder / "model")


def recipe_of(tmp_path, rounds=None, **dpo):
    section = {"method": {"name": "pba"}, "rows": 8, "on_policy": {**ROUNDS, **(rounds or {})}, **dpo}
    source = {"name": "simulator", "users": 40, "test_users": 10, "posts": 80}
    return Recipe(name="t", source=source, out=str(tmp_path / "run"), dpo={"pba": section})


def start(recipe):
    """The run after the training on built examples, whose policy is the packaged model."""
    from persona_rm.pipeline.members import model_folder

    run = RunFolder(recipe, recipe.folder, Console(quiet=True))
    offline = run.folder / "dpo" / "pba" / "offline" / "model"
    if not offline.exists():
        shutil.copytree(model_folder("simulator_lm"), offline)
    return run


def rounds_of(run, upstream="key"):
    config = run.recipe.dpo["pba"]
    return on_policy.run_rounds(run, "pba", config, upstream, on_policy.rewards_of(run, "pba", config, {}))


@pytest.fixture
def trained(monkeypatch, tmp_path):
    simulator = simulator_of(recipe_of(tmp_path))
    user, other = simulator.users("train")[:2]
    posts = simulator.posts("train")
    texts = [simulator.reply(who, post, "train").text for who in (user, other) for post in posts[:2]]
    return Trained(monkeypatch, texts)


def test_each_round_trains_the_newest_policy_on_its_own_answers(tmp_path, trained):
    run = start(recipe_of(tmp_path))
    rounds_of(run)
    folder = run.folder / "dpo" / "pba"
    offline, first = folder / "offline" / "model", folder / "round-1" / "model"
    assert trained.starts == [offline, first] == [model for model, _ in trained.asked]
    assert (folder / "model").resolve() == (folder / "round-2" / "model").resolve()
    one, two = trained.rows
    assert one
    assert [row["bare_prompt"] for row in one] != [row["bare_prompt"] for row in two]
    bundle = load_bundle(folder / "rewards" / "bundle")
    for row in one:
        assert row["prompt"] == bundle.render(row["user"], row["bare_prompt"])
        assert row["margin"] > 0


def test_rounds_that_are_done_are_not_done_again(tmp_path, trained):
    run = start(recipe_of(tmp_path))
    key = rounds_of(run)
    assert rounds_of(run) == key
    more = start(recipe_of(tmp_path, {"rounds": 3}))
    assert rounds_of(more) != key
    assert [model.parent.name for model in trained.starts] == ["offline", "round-1", "round-2"]
    rounds_of(start(recipe_of(tmp_path, {"samples": 3})), "key")
    assert [model.parent.name for model in trained.starts][3:] == ["offline", "round-1"]


def test_a_round_that_was_interrupted_in_training_does_not_sample_again(tmp_path, trained, monkeypatch):
    run = start(recipe_of(tmp_path, {"rounds": 1}))
    with monkeypatch.context() as patch:
        patch.setattr(on_policy, "train_dpo", lambda *args: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            rounds_of(run)
    rounds_of(run)
    assert (len(trained.asked), len(trained.rows)) == (1, 1)


def test_a_model_of_a_run_without_rounds_is_replaced(tmp_path, trained):
    run = start(recipe_of(tmp_path, {"rounds": 1}))
    folder = run.folder / "dpo" / "pba"
    (folder / "model").mkdir()
    (folder / RECORD).write_text("{}")
    rounds_of(run)
    assert (folder / "model" / "config.json").is_file()
    assert not (folder / RECORD).exists()


def test_a_bundle_of_ones_own_gives_users_and_rewards(tmp_path, trained):
    recipe = recipe_of(tmp_path, {"rounds": 1})
    run = start(recipe)
    as_ppo = on_policy._as_ppo(run, "pba", recipe.dpo["pba"].on_policy)
    users, _ = on_policy.users_of(run, as_ppo)
    own = on_policy.bundle_of(run, as_ppo, tmp_path / "mine", users)
    with_bundle = start(recipe_of(tmp_path / "b", {"rounds": 1, "reward": None, "bundle": str(own)}))
    rounds_of(with_bundle)
    assert {row["user"] for row in trained.rows[0]} <= {user.persona.user_id for user in users}
    assert not (with_bundle.folder / "dpo" / "pba" / "rewards").exists()


def test_a_bundle_whose_policy_reads_other_prompts_is_refused(tmp_path, trained):
    kept = load_bundle(write_own(tmp_path, "plain")).folder
    run = start(recipe_of(tmp_path, {"reward": None, "bundle": str(kept)}))
    with pytest.raises(RecipeError, match=r"dpo\.pba\.on_policy\.bundle: its policy_prompt 'plain' does not render"):
        rounds_of(run)


def write_own(tmp_path, policy_prompt):
    from persona_rm.space import load_space
    from persona_rm.types import Persona

    ann = Persona("ann", directions=load_space("alignx90").parse("Likes Science"))
    given = {"method": {"name": "pba_linear"}, "annotator": {"name": "simulator"}}
    return write_bundle(tmp_path / "own", [ann], policy_prompt=policy_prompt, **given)


def test_a_reward_whose_bundle_cannot_render_the_sections_prompt_is_refused(tmp_path, trained):
    (tmp_path / "own.py").write_text(
        "from persona_rm.methods.pba import PBA\nclass Own(PBA):\n    name = 'own'\n", encoding="utf-8"
    )
    run = start(recipe_of(tmp_path, method={"name": f"{tmp_path}/own.py:Own"}))
    with pytest.raises(RecipeError, match="a bundle of 'pba_linear' cannot render the prompt of"):
        rounds_of(run)


@pytest.mark.parametrize(
    ("rounds", "problem"),
    [
        ({"reward": None}, "name either bundle"),
        ({"bundle": "x"}, "name either bundle"),
        ({"reward": "nope"}, r"dpo\.pba\.on_policy\.reward: 'nope' is neither a section of dpo \(none here\)"),
        ({"reward": "pba"}, r"dpo\.pba\.on_policy\.reward: pba must be trained"),
    ],
)
def test_a_reward_that_cannot_be_had_is_refused_when_the_recipe_is_read(tmp_path, rounds, problem):
    from persona_rm.errors import PersonaRMError

    with pytest.raises((ValueError, PersonaRMError), match=problem):
        recipe_of(tmp_path, rounds)


def test_a_rehearsal_has_one_small_round():
    settings = ["source=simulator", "dpo.pba.on_policy={reward: pba_linear, rounds: 5, prompts: 4000}"]
    small, changes = rehearsal_of(load_recipe("recipes/simulator.yaml", settings))
    rounds = small.dpo["pba"].on_policy
    assert (rounds.rounds, rounds.prompts, rounds.users, rounds.max_tokens) == (1, 32, 8, 32)
    assert rounds.cut_answers
    assert any(change.startswith("dpo.pba.on_policy: rounds 1, prompts 32") for change in changes)


def own(user, prompt):
    """ann likes what bob dislikes."""
    chosen, rejected = (SCIENCE, GAMING) if user == "ann" else (GAMING, SCIENCE)
    return {"user": user, "prompt": prompt, "chosen": chosen, "rejected": rejected}


OWN = [own(user, f"q{n}") for n in range(4) for user in ("ann", "bob")]


def own_users_recipe(tmp_path, rounds=None):
    """A recipe whose only data is a users file."""
    users = write(tmp_path / "users.jsonl", OWN)
    section = {"method": "pba", "users": users, "on_policy": {**ROUNDS, "inferrer": "vote", **(rounds or {})}}
    return Recipe(name="t", annotator={"name": "simulator"}, out=str(tmp_path / "run"), dpo={"pba": section})


def test_the_users_of_a_sections_file_have_the_rounds(tmp_path, trained):
    trained.answers = [SCIENCE, GAMING, NEITHER, NEITHER]
    rounds_of(start(own_users_recipe(tmp_path)))
    for rows in trained.rows:
        assert {row["bare_prompt"] for row in rows} <= {f"q{n}" for n in range(4)}
        assert {(row["user"], row["chosen"]) for row in rows} == {("ann", SCIENCE), ("bob", GAMING)}


def test_rewards_that_cannot_be_fitted_cost_no_training(tmp_path, trained):
    run = start(own_users_recipe(tmp_path, {"inferrer": "posterior"}))
    with pytest.raises(DataError, match=r"2 users are too few.*name the inferrer vote"):
        on_policy.rewards_of(run, "pba", run.recipe.dpo["pba"], {})
    assert not trained.starts


def test_a_round_without_a_pair_ends_before_its_training(tmp_path, trained):
    trained.answers = [NEITHER] * 4
    with pytest.raises(DataError, match=r"no row was written: pairs_report\.json says why"):
        rounds_of(start(recipe_of(tmp_path)))
    assert not trained.starts
