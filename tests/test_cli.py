"""The command line: every verb teaches, our errors are one message and exit code 1."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from persona_rm.cli import app

RUNNER = CliRunner()
VERBS = (
    "run",
    "build",
    "prepare",
    "eval",
    "report",
    "rehearse",
    "fit-annotator",
    "where",
    "space",
    "recipes",
    "zoo",
    "version",
)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb):
    result = RUNNER.invoke(app, [verb, "--help"])
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) > 5


def test_the_help_lists_every_verb():
    shown = RUNNER.invoke(app, ["--help"]).stdout
    assert all(verb in shown for verb in VERBS)


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
    result = RUNNER.invoke(app, ["prepare", "recipes/embedded.yaml", "--section", "nope"])
    assert result.exit_code == 1
    assert "no dpo.nope; its sections: pba, ica" in " ".join(result.output.split())


@pytest.mark.slow
def test_prepare_builds_what_is_missing_and_mirrors_histories(tmp_path, monkeypatch):
    recipe = Path("recipes/embedded.yaml").absolute()
    monkeypatch.chdir(tmp_path)
    small = ["source.people=30", "source.posts=120", "build.mirror=true", "dpo.ica.mirror=true", "dpo.ica.rows=8"]
    result = RUNNER.invoke(app, ["prepare", str(recipe), *small, "--section", "ica", "--out", "ica.jsonl"])
    assert result.exit_code == 0, result.output
    assert "openrlhf.cli.train_dpo" in result.output
    rows = [json.loads(line) for line in Path("ica.jsonl").read_text().splitlines()]
    assert len(rows) == 8
    for row, mirrored in zip(rows[::2], rows[1::2], strict=True):
        assert (mirrored["chosen"], mirrored["rejected"]) == (row["rejected"], row["chosen"])
        assert mirrored["prompt"] != row["prompt"]


def test_space_lists_and_parses():
    assert "90 dimensions" in RUNNER.invoke(app, ["space"]).stdout
    parsed = RUNNER.invoke(app, ["space", "--parse", "Older, Likes humor"]).stdout
    assert "'age': -1" in parsed


def test_a_rehearsal_says_what_it_changes():
    shown = RUNNER.invoke(app, ["rehearse", "recipes/llama8b_8gpu.yaml", "source=toy", "--show"])
    assert shown.exit_code == 0, shown.output
    assert "actor.num_gpus_per_node" in shown.output
    assert "toy_lm" in shown.output
