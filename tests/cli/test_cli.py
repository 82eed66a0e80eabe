"""The command line: what each verb prints, and its exit code."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from persona_rm.cli import app
from persona_rm.io.alignx_format import write_examples
from persona_rm.types import Example, Persona

RUNNER = CliRunner()


@pytest.mark.parametrize(
    ("flags", "name"), [([], "reward_func.py"), (["--agent"], "agent_func.py"), (["--rehearsal"], "rehearsal")]
)
def test_where_prints_a_path_that_exists(flags, name):
    path = Path(RUNNER.invoke(app, ["where", "openrlhf", *flags]).stdout.strip())
    assert path.exists()
    assert path.name == name


def test_where_names_the_hosts_that_there_are():
    result = RUNNER.invoke(app, ["where", "nope"])
    assert result.exit_code == 1
    assert "openrlhf" in result.output


def test_a_broken_recipe_is_one_message_without_traceback(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("name: a\nbogus: 1")
    done = subprocess.run(
        [sys.executable, "-m", "persona_rm.cli", "run", str(path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "there is no such key" in done.stderr
    assert "Traceback" not in done.stderr


def test_prepare_names_the_sections_that_a_recipe_has():
    result = RUNNER.invoke(app, ["prepare", "recipes/simulator.yaml", "--section", "nope"])
    assert result.exit_code == 1
    assert "no dpo.nope; its sections: pba, ica" in " ".join(result.output.split())


def test_prepare_says_that_a_recipe_has_no_section_to_write_rows_for():
    result = RUNNER.invoke(app, ["prepare", "recipes/contrast.yaml"])
    assert result.exit_code == 1
    assert "recipe 'contrast' has no dpo section, so there are no rows to write" in " ".join(result.output.split())
    result = RUNNER.invoke(app, ["prepare", "recipes/simulator.yaml", "--for", "sft"])
    assert result.exit_code == 1
    assert "rows can be written --for dpo only; found --for sft" in " ".join(result.output.split())


@pytest.mark.parametrize(
    ("only", "says"),
    [
        ("evl", "there is no stage 'evl'; the stages are: pretrain, build, infer, dpo, eval, ppo, report"),
        ("dpo", "recipe 'contrast' has no stage 'dpo'; it has: ppo, report"),
    ],
)
def test_only_names_a_stage_that_the_recipe_has(tmp_path, only, says):
    result = RUNNER.invoke(app, ["run", "recipes/contrast.yaml", f"out={tmp_path / 'run'}", "--only", only])
    assert result.exit_code == 1
    assert says in " ".join(result.output.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_prepare_builds_what_is_missing_and_mirrors_histories(tmp_path, monkeypatch):
    recipe = Path("recipes/simulator.yaml").absolute()
    monkeypatch.chdir(tmp_path)
    small = [
        "source.users=30",
        "source.posts=120",
        "build.workers=1",
        "build.mirror=true",
        "dpo.ica.mirror=true",
        "dpo.ica.rows=8",
    ]
    result = RUNNER.invoke(app, ["prepare", str(recipe), *small, "--section", "ica", "--out", "ica.jsonl"])
    assert result.exit_code == 0, result.output
    assert "openrlhf.cli.train_dpo" in result.output
    rows = [json.loads(line) for line in Path("ica.jsonl").read_text().splitlines()]
    assert len(rows) == 8
    for row, mirrored in zip(rows[::2], rows[1::2], strict=True):
        assert (mirrored["chosen"], mirrored["rejected"]) == (row["rejected"], row["chosen"])
        assert mirrored["prompt"] != row["prompt"]


def small_simulator(tmp_path, *lines):
    path = tmp_path / "small.yaml"
    path.write_text(
        "\n".join(["name: small", "source: {name: simulator, users: 30, test_users: 4, posts: 120}", *lines])
    )
    return str(path)


@pytest.mark.parametrize(("share", "said"), [("10", "at most 100%"), ("0%", "more than 0"), ("some", "found 'some'")])
def test_a_sample_is_a_share(tmp_path, share, said):
    result = RUNNER.invoke(app, ["build", small_simulator(tmp_path), "--sample", share])
    assert result.exit_code == 1
    assert said in " ".join(result.output.split())


def test_a_dry_run_tells_rows_and_cost_and_writes_no_stage(tmp_path):
    recipe = small_simulator(tmp_path, "build: {prices: {gpu_hour: 2.0}}")
    result = RUNNER.invoke(app, ["build", recipe, f"out={tmp_path / 'out'}", "--sample", "50%", "--dry-run"])
    assert result.exit_code == 0, result.output
    words = " ".join(result.output.split())
    assert "stage annotate" in words
    assert "to do" in words
    assert re.search(r"threads\D+60\b", words), "half of the 120 posts"
    assert "a million responses" in words
    assert "annotation: money for hours" in words
    assert not list((tmp_path / "out").rglob("*.parquet"))


def example_rows(space, prompts):
    return [
        Example(f"e {p}", p, f"yes to {p}", f"no to {p}", (1, *[0] * (len(space) - 1)), Persona(f"u {p}"))
        for p in prompts
    ]


def test_leakage_tells_and_fails_if_something_is_shared(tmp_path, space):
    train, test, other = (tmp_path / name for name in ("train.jsonl", "test.jsonl", "other.jsonl"))
    write_examples(train, example_rows(space, ["what is shared", "only here"]), space)
    write_examples(test, example_rows(space, ["what is shared", "only there"]), space)
    write_examples(other, example_rows(space, ["a third thing entirely"]), space)
    leaking = RUNNER.invoke(app, ["leakage", str(train), str(test)])
    assert leaking.exit_code == 1
    assert "shared, see above" in leaking.output
    clean = RUNNER.invoke(app, ["leakage", str(train), str(other)])
    assert clean.exit_code == 0, clean.output
    assert "nothing is shared: 2 examples against 1" in clean.output


def test_space_lists_and_parses():
    assert "90 dimensions" in RUNNER.invoke(app, ["space"]).stdout
    parsed = RUNNER.invoke(app, ["space", "--parse", "Older, Likes humor"]).stdout
    assert "'age': -1" in parsed


def test_a_rehearsal_says_what_it_changes():
    shown = RUNNER.invoke(app, ["rehearse", "recipes/llama8b_8gpu.yaml", "source=simulator", "--show"])
    assert shown.exit_code == 0, shown.output
    assert "actor.num_gpus_per_node" in shown.output
    assert "the packaged tiny model" in shown.output
