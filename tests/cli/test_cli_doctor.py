"""The verbs doctor and init, and shell completion."""

import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from persona_rm.bundle import write_bundle
from persona_rm.cli import app
from persona_rm.cli.complete import complete_bundle, complete_recipe, complete_target
from persona_rm.recipe import load_recipe
from persona_rm.types import Persona

RUNNER = CliRunner()


@pytest.fixture
def there(tmp_path, space, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    users = [Persona("ann", directions=space.parse("Likes Science"))]
    write_bundle("b", users, method={"name": "pba_linear"}, annotator={"name": "simulator"})
    (tmp_path / "p.jsonl").write_text('{"prompt": "Hi", "label": "ann"}\n{"prompt": "Hi", "label": "zoe"}\n')
    (tmp_path / "users.jsonl").write_text('{"user_id": "ann"}\n')
    return tmp_path


def test_the_exit_code_is_that_of_the_worst_finding(there):
    good = RUNNER.invoke(app, ["doctor", "b", "--port", "0"])
    assert good.exit_code == 0, good.output
    assert "ok      scoring: 100 rows scored" in good.stdout
    warned = ["doctor", "b", "--data", "p.jsonl", "--port", "0"]
    found = RUNNER.invoke(app, warned)
    assert found.exit_code == 0
    assert "warning labels: 1 of 2 rows name a known user" in found.stdout
    assert "-> Unknown users get the population prior" in found.stdout
    assert RUNNER.invoke(app, [*warned, "--strict"]).exit_code == 1
    (there / "p.jsonl").write_text('{"prompt": "Hi", "label": "zoe"}\n')
    shown = RUNNER.invoke(app, [*warned, "--json", "--rows", "0"])
    assert shown.exit_code == 1
    report = json.loads(shown.stdout)
    assert report["worst"] == "error"
    assert [one["looked_at"] for one in report["findings"] if one["severity"] == "error"] == ["labels"]
    assert all(set(one) == {"severity", "looked_at", "what", "todo"} for one in report["findings"])


def test_init_writes_a_recipe_that_loads_and_that_doctor_reads(there):
    options = ["--model", "simulator_lm", "--gpus", "0", "--users", "users.jsonl"]
    done = RUNNER.invoke(app, ["init", *options])
    assert done.exit_code == 0, done.output
    assert "python -m persona_rm.serving start runs/mine/ppo/own/bundle" in done.stdout
    assert "--train.agent_func_path" in done.stdout
    assert "PERSONA_RM_BUNDLE" in done.stdout
    recipe = load_recipe("mine.yaml")
    assert (recipe.name, recipe.model, list(recipe.ppo)) == ("mine", "simulator_lm", ["own"])
    assert (there / "mine.yaml").read_text().startswith("# PPO of simulator_lm")
    examined = RUNNER.invoke(app, ["doctor", "mine.yaml", "--port", "0"])
    assert "note    bundle: the recipe has no bundle yet" in examined.stdout, examined.output
    again = RUNNER.invoke(app, ["init", *options])
    assert again.exit_code == 1
    assert "mine.yaml exists" in again.output
    assert RUNNER.invoke(app, ["init", *options, "--force"]).exit_code == 0


def test_init_checks_the_prompts_and_writes_them_into_recipe_and_host_line(there):
    (there / "asks.csv").write_text("question,user\nTea?,ann\nWhy?,zoe\n")
    options = ["--model", "simulator_lm", "--gpus", "0", "--users", "users.jsonl", "--force", "--prompts"]
    done = RUNNER.invoke(app, ["init", *options, "asks.csv"])
    assert done.exit_code == 0, done.output
    assert "asks.csv: 2 prompts (column 'question'); 1 of them name a user of the users file" in done.stdout
    where = f"--data.prompt_dataset {there / 'asks.csv'} --data.input_key question --data.label_key user"
    assert where in done.stdout
    section = load_recipe("mine.yaml").ppo["own"]
    assert (section.users, section.prompts) == ("users.jsonl", "asks.csv")
    (there / "bare.jsonl").write_text('{"prompt": "Tea?"}\n')
    bare = RUNNER.invoke(app, ["init", *options, "bare.jsonl"])
    assert "no row names a user: a run gives each to the next user in turn" in bare.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"prompt": "Tea?", "user": "anne"}\n', "they name 'anne', its users are such as 'ann'; did you mean 'ann'"),
        ('{"text": "Tea?"}\n', "no column holds prompts"),
        ('{"prompt": " "}\n', "the prompt is empty"),
        ("", "asks.jsonl"),
        (None, "--prompts asks.jsonl: there is no such file"),
    ],
)
def test_init_refuses_prompts_that_no_run_could_use(there, text, said):
    if text is not None:
        (there / "asks.jsonl").write_text(text)
    options = ["--model", "simulator_lm", "--gpus", "0", "--users", "users.jsonl", "--prompts", "asks.jsonl"]
    done = RUNNER.invoke(app, ["init", *options])
    assert done.exit_code == 1
    assert said in done.output
    assert not (there / "mine.yaml").exists()


COMMAND = ["--", "python", "-m", "openrlhf.cli.train_ppo_ray", "--data.input_key", "prompt"]


def test_a_command_behind_two_dashes_is_examined_with_a_bundle_or_with_that_of_its_variables(there):
    (there / "asks.csv").write_text("prompt,who\nTea?,ann\nWhy?,ann\n")
    options = ["--data", "asks.csv", "--port", "0", "--rows", "2"]
    wrong = RUNNER.invoke(app, ["doctor", "b", *options, *COMMAND, "--data.labelkey", "who"])
    assert wrong.exit_code == 1, wrong.output
    assert "--data.labelkey is no flag of train_ppo_ray; did you mean 'data.label_key'" in wrong.stdout
    assert "-> Add --data.label_key who" in wrong.stdout
    assert "ok      labels: 2 of 2 rows name a known user" in wrong.stdout, "the guessed column was looked at"
    named = ["--", "PERSONA_RM_BUNDLE=b", *COMMAND[1:], "--data.label_key", "who"]
    right = RUNNER.invoke(app, ["doctor", *options, *named])
    assert "ok      bundle: b: method pba_linear" in right.stdout, right.output
    assert "ok      columns: prompt, who of asks.csv, 2 rows" in right.stdout
    assert "ok      scoring: 2 rows scored" in right.stdout
    script = RUNNER.invoke(app, ["doctor", "b", "--", "bash", "train_it.sh"])
    assert script.exit_code == 1
    assert "a shell script is not read: give the command that is in it" in script.output


@pytest.mark.parametrize("gpus", [1, 3, 8, 16])
def test_a_recipe_for_gpus_reserves_that_many(there, gpus):
    options = ["--model", "m", "--gpus", str(gpus), "--users", "users.jsonl", "--name", f"g{gpus}"]
    assert RUNNER.invoke(app, ["init", *options]).exit_code == 0
    from persona_rm.hosts import load_host

    recipe = load_recipe(f"g{gpus}.yaml")
    assert load_host().gpus_needed(recipe.ppo["own"].args) == gpus
    assert recipe.device == "gpu"


def test_init_names_what_is_missing_where_it_cannot_ask(there):
    found = RUNNER.invoke(app, ["init", "--gpus", "2"])
    assert found.exit_code == 1
    assert "missing: --model, --users (this is no terminal" in found.output
    lost = RUNNER.invoke(app, ["init", "--gpus", "2", "--model", "m", "--users", "nope.jsonl"])
    assert "--users nope.jsonl: there is no such file" in lost.output
    wrong = RUNNER.invoke(app, ["init", "--gpus", "2", "--model", "m", "--users", "users.jsonl", "--reward", "nope"])
    assert wrong.exit_code == 1
    assert not (there / "mine.yaml").exists()


def test_what_completes(there):
    (there / "my.yaml").write_text("name: my\n")
    assert complete_bundle() == ["b"]
    assert {"quickstart", "contrast", "my.yaml"} <= set(complete_recipe())
    assert complete_target()[0] == "b"


def test_the_shell_gets_completions(there):
    words = {"COMP_WORDS": "persona-rm doctor quick", "COMP_CWORD": "2", "_PERSONA_RM_COMPLETE": "complete_bash"}
    code = "from persona_rm.cli import app; app(prog_name='persona-rm')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={**os.environ, **words}
    )
    assert done.stdout.split() == ["quickstart"], done.stderr
