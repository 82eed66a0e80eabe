"""A team's own command, read word by word and made small."""

import json
import re

import pytest

from persona_rm.errors import DataError, HostError
from persona_rm.hosts.common.finder import where
from persona_rm.hosts.openrlhf.own_command import (
    check_forms,
    data_columns,
    logged_samples,
    policy_text,
    read_command,
    read_flags,
    small_job,
)
from persona_rm.io.json_rows import JsonRow

PPO = ["python", "-m", "openrlhf.cli.train_ppo_ray"]


def test_the_trainer_and_its_flags_are_found_behind_whatever_starts_it():
    runtime = json.dumps({"env_vars": {"PERSONA_RM_BUNDLE": "/b", "PERSONA_RM_LABELS": "strict"}})
    words = ["ray", "job", "submit", "--runtime-env-json", runtime, "--", "X=1", *PPO, "--train.batch_size", "128"]
    command = read_command([*words, "--vllm.enable_sleep", "--reward.clip_range", "-5", "5", "--data.input_key=q"])
    assert command.trainer == "ppo"
    assert command.args == {
        "train.batch_size": "128",
        "vllm.enable_sleep": True,
        "reward.clip_range": ["-5", "5"],
        "data.input_key": "q",
    }
    assert command.variables == {"PERSONA_RM_BUNDLE": "/b", "PERSONA_RM_LABELS": "strict", "X": "1"}
    assert command.before[:3] == ["ray", "job", "submit"]


@pytest.mark.parametrize(
    "words",
    [
        ["deepspeed", "--module", "openrlhf.cli.train_dpo", "--adam.lr", "1e-5"],
        ["torchrun", "/site/openrlhf/cli/train_dpo.py", "--adam.lr", "1e-5"],
        ["python -m openrlhf.cli.train_dpo --adam.lr 1e-5"],
    ],
)
def test_launchers_paths_and_one_quoted_text_are_read(words):
    command = read_command(words)
    assert (command.trainer, command.args) == ("dpo", {"adam.lr": "1e-5"})


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["bash", "run.sh"], "begins with: bash run.sh; a shell script is not read: give the command that is in it"),
        (["python", "-m", "openrlhf.cli.train_sft"], r"train_sft takes no rewards of users.*train_ppo_ray"),
        ([*PPO, "128"], "the trainer's first word must be a flag such as --train.batch_size, found '128'"),
        (["ray", "job", "submit", "--runtime-env-json", "{", "--", *PPO], "runtime-env-json .* is no JSON object"),
        (["python"], "begins with: python; give the command whole"),
    ],
)
def test_a_command_that_cannot_be_rehearsed_says_why(words, told):
    with pytest.raises(HostError, match=told):
        read_command(words)


def test_the_last_of_equal_flags_counts_as_it_does_for_the_host():
    assert read_flags(["--a.b", "1", "--a.b", "2"]) == {"a.b": "2"}


def test_columns_are_those_of_the_command_or_of_the_host():
    named = data_columns(read_command([*PPO, "--data.prompt_dataset", "x", "--data.label_key", "who"]))
    assert (named.file, named.texts, named.label) == ("x", {"prompt": "input"}, "who")
    assert named.unnamed == {"data.input_key"}
    dpo = data_columns(read_command(["openrlhf.cli.train_dpo", "--data.prompt_key", "q", "--data.chosen_key", "good"]))
    assert dpo.texts == {"prompt": "q", "chosen": "good", "rejected": "rejected"}
    assert (dpo.label_flag, dpo.unnamed) == ("", {"data.rejected_key"})
    assert "prompt" not in data_columns(read_command(["openrlhf.cli.train_dpo"])).texts


TURNS = [{"role": "user", "content": "Hi"}]
TEXTS = {"prompt": "Hi", "chosen": "a", "rejected": "b"}
DPO = ["openrlhf.cli.train_dpo", "--data.prompt_key", "prompt"]


@pytest.mark.parametrize(
    ("words", "row", "said"),
    [
        (DPO, TEXTS, None),
        ([*DPO, "--data.apply_chat_template"], TEXTS, "no list of chat messages, which --data.apply"),
        ([*DPO, "--data.apply_chat_template"], dict.fromkeys(TEXTS, TURNS), None),
        (DPO, {**TEXTS, "chosen": TURNS}, "chat messages, which the host reads only with --data.apply"),
        ([*PPO, "--data.input_key", "prompt"], {"prompt": TURNS}, "reads only with --data.apply_chat_template: add"),
        ([*PPO, "--data.input_key", "prompt", "--data.apply_chat_template"], {"prompt": "Hi"}, None),
    ],
)
def test_texts_and_messages_go_with_the_flags(words, row, said):
    rows = [JsonRow(row, "f.jsonl", 1)]
    if said is None:
        check_forms(read_command(words), rows)
        return
    with pytest.raises(DataError, match=re.escape(said)):
        check_forms(read_command(words), rows)


def small(tmp_path, *flags, longest=0):
    return small_job(read_command([*PPO, *flags]), tmp_path / "rows.jsonl", tmp_path, tmp_path / "m", longest, "cpu")


def test_a_small_job_reads_the_rows_and_no_other_data(tmp_path):
    job = small(tmp_path, "--data.prompt_dataset", "a,b", "--data.prompt_probs", "0.5,0.5", "--eval.dataset", "c")
    assert job.args["data.prompt_dataset"] == str(tmp_path / "rows.jsonl")
    assert not {"data.prompt_probs", "eval.dataset"} & job.args.keys()
    assert any(change.startswith("eval.dataset: c -> left out") for change in job.changes)


def test_a_prompt_longer_than_the_rules_leave_room_for_its_answer(tmp_path):
    job = small(tmp_path, longest=900)
    assert job.args["data.max_len"] == 900 + int(job.args["rollout.max_new_tokens"])
    assert small(tmp_path, longest=10).args["data.max_len"] == 512


@pytest.mark.parametrize(
    ("flags", "plugin", "told"),
    [
        ([], "reward", "reward.remote_url: nothing -> .*add this flag to it"),
        (["--reward.remote_url", "http://rm:8000"], "reward", "http://rm:8000 -> .*it is no file of this machine"),
        (["--train.agent_func_path", "/x/agent_func.py"], "agent", "/x/agent_func.py -> .*it is no file"),
        (["--train.agent_func_path", str(where("openrlhf", "agent"))], "agent", None),
    ],
)
def test_the_plugin_is_the_commands_own_or_said_to_be_added(tmp_path, flags, plugin, told):
    job = small(tmp_path, *flags)
    assert job.plugin == plugin
    assert not {"reward.remote_url", "train.agent_func_path"} & job.args.keys(), "the launch sets it"
    lines = [change for change in job.changes if change.startswith(("reward.remote_url", "train.agent_func_path"))]
    assert [bool(re.search(told, line)) for line in lines] == [True] if told else not lines


def test_a_plugin_file_of_the_team_is_loaded_as_it_is(tmp_path):
    own = tmp_path / "my_reward.py"
    own.write_text("def reward_func(queries, prompts, labels): ...\n")
    job = small(tmp_path, "--reward.remote_url", str(own))
    assert job.args["reward.remote_url"] == str(own)


class Templated:
    def apply_chat_template(self, messages, tokenize, add_generation_prompt):
        assert (tokenize, add_generation_prompt) == (False, True)
        return "".join(f"<{m['role']}>{m['content']}" for m in messages) + "<assistant>"


def test_the_prompt_is_rendered_as_the_host_does():
    row = {"q": "Hi"}
    assert policy_text({"data.input_key": "q"}, row, None) == "Hi"
    assert policy_text({"data.input_key": "q", "data.input_template": "Q: {}\\nA:"}, row, None) == "Q: Hi\nA:"
    assert policy_text({"data.input_key": "q", "data.input_template": "none"}, row, None) == "Hi"
    chat = {"data.input_key": "q", "data.apply_chat_template": True}
    assert policy_text(chat, row, Templated()) == "<user>Hi<assistant>"
    assert policy_text(chat, {"q": [{"role": "system", "content": "S"}]}, Templated()) == "<system>S<assistant>"


def test_samples_are_read_from_the_hosts_log(tmp_path):
    log = tmp_path / "ppo.log"
    log.write_text(
        "x INFO ppo_trainer.py:224] Sample: ['Q: it\\'s [here]\\nA: b', 0.5]\nother\n"
        "x INFO ppo_trainer.py:224] Sample: ['broken', nan]\n"
    )
    assert logged_samples(log) == ["Q: it's [here]\nA: b"]
