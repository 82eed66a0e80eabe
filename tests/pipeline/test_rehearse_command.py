"""A team's own command with their own bundle and prompts: checked, and one real PPO on a CPU."""

import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from persona_rm.bundle import User, write_bundle
from persona_rm.cli import app
from persona_rm.errors import DataError, RecipeError
from persona_rm.hosts.common import device
from persona_rm.hosts.openrlhf import host_version
from persona_rm.pipeline.command_summary import preference_summary, reward_summary
from persona_rm.pipeline.label_check import LabelReport
from persona_rm.pipeline.rehearse_command import check_command
from persona_rm.types import Persona
from persona_rm.users.own_prompts import read_table

TEAM = [
    "ray", "job", "submit", "--runtime-env-json", json.dumps({"env_vars": {"PERSONA_RM_BUNDLE": "/shared/b"}}), "--",
    "python", "-m", "openrlhf.cli.train_ppo_ray", "--actor.model_name_or_path", "/models/Llama", "--vllm.num_engines",
    "4", "--data.prompt_dataset", "/shared/prompts", "--data.input_key", "question", "--data.apply_chat_template",
    "--rollout.n_samples_per_prompt", "8", "--algo.advantage.estimator", "reinforce_baseline",
    "--algo.kl.init_coef", "0", "--train.agent_func_path", "/shared/agent_func.py",
]  # fmt: skip
DPO = ["python", "-m", "openrlhf.cli.train_dpo", "--model.model_name_or_path", "/models/Llama", "--data.prompt_key"]


@pytest.fixture
def bundle(tmp_path, space):
    """Two users of two groups who want opposite things."""
    likes = {way: tuple(way * int(dim == 0) for dim in range(len(space))) for way in (1, -1)}
    users = [User(Persona("ann", directions=likes[1]), "cats"), User(Persona("bob", directions=likes[-1]), "dogs")]
    return write_bundle(tmp_path / "bundle", users, method={"name": "pba_linear"}, annotator={"name": "encoder"})


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def prompts(tmp_path):
    labels = ["ann", "bob", {"user": "ann"}, "zoe", "[junk", None]
    rows = [{"question": f"What is {i}?", "who": labels[i % len(labels)], "topic": "sums"} for i in range(30)]
    return write(tmp_path / "prompts.jsonl", *rows)


def test_what_the_command_leaves_out_is_found_in_the_file_and_told(bundle, prompts):
    checked = check_command(TEAM, bundle, prompts)
    assert checked.command.args["data.label_key"] == "who"
    assert checked.labels.counts == {"known": 15, "unknown": 5, "missing": 5, "bad": 5}
    assert any(change.startswith("data.label_key: nothing -> who") for change in checked.changes)
    assert any("PERSONA_RM_BUNDLE -> left out" in change for change in checked.changes)
    assert checked.notes[0] == f"users: 2 of the bundle {bundle}, none are simulated"
    kinds = {(str(row.data["who"])) for row in checked.rows}
    assert kinds == {"ann", "bob", "{'user': 'ann'}", "zoe", "[junk", "None"}
    assert len(checked.rows) == 16


def test_a_column_that_the_command_names_and_the_file_lacks_is_refused(bundle, prompts):
    wrong = [*TEAM, "--data.input_key", "questions"]
    with pytest.raises(DataError, match=r"key 'questions'.*named by the command.*did you mean 'question'"):
        check_command(wrong, bundle, prompts)


def test_the_hosts_default_column_is_replaced_by_the_files_own(tmp_path, bundle):
    file = write(tmp_path / "p.jsonl", {"prompt": "Hi?", "user": "ann"})
    words = ["openrlhf.cli.train_ppo_ray", "--data.label_key", "user"]
    checked = check_command(words, bundle, file)
    assert checked.command.args["data.input_key"] == "prompt"
    assert any(change.startswith("data.input_key: input (the host's default) -> prompt") for change in checked.changes)


def test_ppo_needs_a_bundle_and_rows(bundle, prompts):
    with pytest.raises(RecipeError, match="name it with --bundle FOLDER"):
        check_command(TEAM, None, prompts)
    with pytest.raises(RecipeError, match=r"names '/shared/prompts', which is no file here: .* --prompts FILE"):
        check_command(TEAM, bundle, None)


def test_a_dpo_command_reads_its_preference_file_and_compares_rewards(tmp_path, bundle):
    pair = {"chosen": "Yes.", "rejected": "No."}
    file = write(tmp_path / "prefs.jsonl", *({"q": f"q{i}", **pair, "user": "ann"} for i in range(40)))
    checked = check_command([*DPO, "q", "--data.dataset", str(file)], bundle, None)
    assert (checked.labels, len(checked.rows), checked.bundle is not None) == (None, 32, True)
    with pytest.raises(DataError, match=r"key 'good'.*named by the command for --data.chosen_key"):
        check_command([*DPO, "q", "--data.chosen_key", "good"], None, file)


class Agrees:
    def score(self, requests):
        from persona_rm.types import RewardResult, RewardTrace

        return [RewardResult(value, RewardTrace(value)) for value in map(len, (r.response for r in requests))]


def test_the_users_reward_is_compared_with_the_rows(tmp_path):
    rows = [
        {"p": "q", "chosen": "longer", "rejected": "no", "user": "ann"},
        {"p": "q", "chosen": "no", "rejected": "longer", "user": "ann"},
        {"p": "q", "chosen": "no", "rejected": "so", "user": "bob"},
        {"p": "q", "chosen": [{"role": "user", "content": "x"}], "rejected": "so", "user": "bob"},
    ]
    texts = {"prompt": "p", "chosen": "chosen", "rejected": "rejected"}
    table = read_table(write(tmp_path / "p.jsonl", *rows))
    assert preference_summary(Agrees(), table, texts) == {"compared": 3, "agree": 1, "ties": 1}
    bare = read_table(write(tmp_path / "b.jsonl", {"p": "q", "chosen": "a", "rejected": "b"}))
    assert preference_summary(Agrees(), bare, texts)["note"].startswith("no column names the user of a row")


class Done:
    seconds, log, tensorboard, rewards = 1.4, "ppo.log", "tb", ("r.jsonl",)

    def samples(self):
        row = {"user_known": True, "bad_label": False, "empty": False, "group": "cats", "reward": 1.0}
        cold = {**row, "user_known": False, "group": "unknown", "bad_label": True, "reward": 0.0}
        return [row, {**row, "reward": 2.0, "empty": True}, cold]


def test_rewards_are_averaged_by_group_and_kinds_counted():
    summary = reward_summary(Done(), LabelReport("who", ["known"], ["ann"], ["cats"]))
    assert summary["groups"] == {"cats": {"mean": 1.5, "n": 2}, "unknown": {"mean": 0.0, "n": 1}}
    assert [summary[name] for name in ("samples", "known", "cold", "bad_label", "empty")] == [3, 2, 1, 1, 1]


def test_the_command_line_tells_a_command_from_a_recipe(bundle, prompts):
    done = CliRunner().invoke(app, ["rehearse", "--prompts", str(prompts), "--", *TEAM])
    assert (done.exit_code, "--bundle FOLDER" in done.output + done.stderr) == (1, True)
    done = CliRunner().invoke(app, ["rehearse", "quikstart"])
    assert (done.exit_code, "no recipe at quikstart" in done.output + done.stderr) == (1, True)


@pytest.mark.slow
@pytest.mark.skipif(host_version() is None, reason="openrlhf is not installed")
@pytest.mark.skipif(device() != "cpu", reason="this run rehearses on a CPU")
def test_a_teams_own_command_runs_on_their_users_and_prompts(tmp_path, bundle, prompts):
    command = [sys.executable, "-m", "persona_rm.cli", "rehearse", "--bundle", str(bundle), "--prompts", str(prompts)]
    command += ["--out", str(tmp_path / "run"), "--", *TEAM]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "The rehearsal ran to its end" in done.stdout
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["samples"] == 32
    assert summary["groups"].keys() == {"cats", "dogs", "unknown"}
    assert summary["bad_label"] > 0
    assert summary["known"] + summary["cold"] == 32
    policy = summary["prompt"]["policy"]
    assert policy.startswith("system: "), "the chat template of the tiny model is around the prompt"
    assert policy.endswith("assistant: ")
    assert "user: ***Task***\n\nWhat is" in policy
    assert summary["host_log"]["logged"] == summary["host_log"]["expected"] == 2
    assert list((tmp_path / "run" / "model").glob("*.safetensors"))
