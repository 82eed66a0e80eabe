"""Recipes are strict, and an error says which file, which key and what there is."""

import pytest

from persona_rm.errors import RecipeError
from persona_rm.hosts.openrlhf.commands import flags
from persona_rm.pipeline.members import source_of
from persona_rm.recipe import load_recipe, save_recipe


@pytest.fixture
def written(tmp_path):
    def write(text):
        path = tmp_path / "recipe.yaml"
        path.write_text(text)
        return path

    return write


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("name: a\nbogus: 1", "bogus: there is no such key; there is: annotator, bench, build"),
        ("name: a\nsource: {name: simulator, kindd: x}", "kindd: there is no such key"),
        ("name: a\nsource: nope", "no 'nope' in persona_rm.sources; there is: hf, jsonl, pushshift, reddit"),
        ("name: a\neval: {items: many}", "eval.items"),
        ("name: a\ndpo: {pba: {method: pba, rowz: 3}}", "dpo.pba.rowz"),
        ("name: a\nsource: {kind: x}", "a zoo member is its name"),
        ("name: A b", "name"),
        ("- 1", "a recipe is a mapping"),
        ("name: [", "not YAML"),
    ],
)
def test_what_is_wrong_is_named(written, text, says):
    path = written(text)
    with pytest.raises(RecipeError) as error:
        load_recipe(path)
    assert says in str(error.value)
    assert str(path) in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(RecipeError, match=r"no recipe at .*gone\.yaml"):
        load_recipe(tmp_path / "gone.yaml")


def test_overrides_reach_sections_members_and_host_flags(written):
    path = written("name: a\nsource: simulator\ndpo: {pba: {method: pba}}")
    recipe = load_recipe(path, ["seed=7", "source.posts=9", "dpo.pba.args.train.batch_size=4", "dpo.pba.method=ica"])
    assert recipe.seed == 7
    assert recipe.source == {"name": "simulator", "posts": 9}
    assert recipe.dpo["pba"].args == {"train.batch_size": 4}
    assert recipe.dpo["pba"].method == {"name": "ica"}


def test_a_host_flag_of_several_values_is_a_list(written):
    path = written("name: a\nppo: {p: {reward: contrast, args: {algo.dynamic_filtering_range: [0.1, 0.9]}}}")
    args = load_recipe(path).ppo["p"].args
    assert flags(args) == ["--algo.dynamic_filtering_range", "0.1", "0.9"]
    assert load_recipe(path, ["ppo.p.args.algo.dynamic_filtering_range=[0, 1]"]).ppo["p"].args == {
        "algo.dynamic_filtering_range": [0, 1]
    }


@pytest.mark.parametrize(
    ("reward", "says"),
    [
        ("pbo", r"ppo.p.reward: 'pbo' is neither a section of dpo \(mine\) nor a method: bradley_terry, .*pba"),
        (
            "pba",
            "ppo.p.reward: pba must be trained, and dpo has no section of this name; these need no training: con",
        ),
    ],
)
def test_a_reward_that_nothing_gives_is_found_before_anything_runs(written, reward, says):
    path = written("name: a\ndpo: {mine: {method: pba}}\nppo: {p: {reward: mine}}")
    for good in ("mine", "contrast", "pba_linear", "bradley_terry"):
        assert load_recipe(path, [f"ppo.p.reward={good}"]).ppo["p"].reward == good
    with pytest.raises(RecipeError, match=says):
        load_recipe(path, [f"ppo.p.reward={reward}"])


def test_a_member_is_replaced_by_its_name_with_its_settings(written):
    path = written("name: a\nsource: {name: simulator, posts: 9}")
    recipe = load_recipe(path, ["source=reddit", "source.path=x.jsonl"])
    assert recipe.source == {"name": "reddit", "path": "x.jsonl"}


@pytest.mark.parametrize("override", ["seed", "=3", "name.x=1"])
def test_an_override_that_cannot_be_is_an_error(written, override):
    with pytest.raises(RecipeError):
        load_recipe(written("name: a"), [override])


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("sed=1", "override 'sed=1': sed: there is no such key"),
        ("seed=x", "override 'seed=x': seed: "),
        ("source=reddit", "override 'source=reddit': source.path: missing"),
        ("dpo.pba.rows=0", "override 'dpo.pba.rows=0': dpo.pba.rows: "),
        ("seed=[", "override 'seed=[': the value is not YAML"),
        ("source.posts={a: 1, a: 2}", "the key 'a' is given twice"),
    ],
)
def test_an_error_of_an_override_names_the_override_and_not_the_file(written, override, words):
    path = written("name: a\nsource: {name: simulator}\ndpo: {pba: {method: pba}}")
    with pytest.raises(RecipeError) as caught:
        load_recipe(path, ["name=b", override])
    assert words in str(caught.value)
    assert str(path) not in str(caught.value)


def test_an_error_of_the_file_names_the_file_beside_overrides(written):
    path = written("name: a\nbogus: 1")
    with pytest.raises(RecipeError, match=f"{path}: bogus: there is no such key"):
        load_recipe(path, ["seed=1"])


def test_a_key_that_is_given_twice_is_an_error(written):
    path = written("name: a\nseed: 1\nname: b")
    with pytest.raises(RecipeError, match=f"{path}: the key 'name' is given twice, in line 1 and in line 3"):
        load_recipe(path)


def test_the_saved_recipe_is_the_same_recipe(written, tmp_path):
    recipe = load_recipe(written("name: a\ndpo: {pba: {method: {name: pba, beta: 0.2}}}"))
    save_recipe(recipe, tmp_path / "again.yaml")
    assert load_recipe(tmp_path / "again.yaml") == recipe


@pytest.mark.parametrize("method", ["pba_linear", "bradley_terry"])
def test_a_section_of_dpo_needs_a_method_with_a_prompt(written, method):
    path = written("name: a\ndpo: {mine: {method: pba}}")
    with pytest.raises(RecipeError, match=rf"dpo\.mine\.method: {method} has no `render`"):
        load_recipe(path, [f"dpo.mine.method={method}"])


def test_methods_without_training_are_evaluated_by_name(written):
    path = written("name: a\neval: {untrained: {linear: pba_linear, twice: {name: pba_linear, scale: 2}}}")
    untrained = load_recipe(path).eval.untrained
    assert untrained == {"linear": {"name": "pba_linear"}, "twice": {"name": "pba_linear", "scale": 2}}
    with pytest.raises(RecipeError, match=r"untrained\.linear: pba must be trained: give it a section of dpo"):
        load_recipe(path, ["eval.untrained.linear=pba"])
    with pytest.raises(RecipeError, match=r"untrained\.twice\.scal"):
        load_recipe(path, ["eval.untrained.twice.scal=3"])


MY_SOURCE = """
from typing import ClassVar

from persona_rm import Config, Source


class MyConfig(Config):
    size: int = 3


class MySource(Source):
    name: ClassVar[str] = "mine"
    Config = MyConfig

    def threads(self, on_bad):
        yield from ()
"""


def test_a_member_in_a_file_is_relative_to_the_recipe_and_an_override_to_the_working_directory(
    written, tmp_path, monkeypatch
):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "mine.py").write_text(MY_SOURCE)
    (elsewhere / "other.py").write_text(MY_SOURCE)
    monkeypatch.chdir(elsewhere)
    path = written("name: a\nsource: {name: ./mine.py:MySource, size: 5}")
    recipe = load_recipe(path)
    assert recipe.source == {"name": f"{tmp_path}/mine.py:MySource", "size": 5}
    assert source_of(recipe).config.size == 5
    save_recipe(recipe, elsewhere / "deep" / "recipe.yaml")
    assert load_recipe(elsewhere / "deep" / "recipe.yaml") == recipe, "the saved recipe means the same file"
    assert load_recipe(path, ["source=./other.py:MySource"]).source == {"name": f"{elsewhere}/other.py:MySource"}
    with pytest.raises(RecipeError, match=r"source\.sise: there is no such key; there is: size; did you mean 'size'"):
        load_recipe(path, ["source.sise=5"])
    with pytest.raises(RecipeError, match=r"source: there is no file .*/gone\.py"):
        load_recipe(path, ["source=./gone.py:MySource"])


def test_universal_sets_and_models_beside_the_method_are_members_too(written):
    path = written("name: a\nbuild: {universal: [{name: ultrafeedbak, path: x}]}")
    with pytest.raises(RecipeError, match=r"build\.universal: no 'ultrafeedbak' .*did you mean 'ultrafeedback'"):
        load_recipe(path)
    path = written("name: a\nppo: {p: {reward: contrast, safety: {method: bradley_tery}}}")
    with pytest.raises(RecipeError, match=r"safety\.method: no 'bradley_tery' .*did you mean 'bradley_terry'"):
        load_recipe(path)
