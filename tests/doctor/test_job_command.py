"""What the doctor says about a team's own command."""

import json

import pytest

from persona_rm.bundle import write_bundle
from persona_rm.doctor import examine, subject_of_command
from persona_rm.doctor.job_command import check_columns, check_command, check_command_chat
from persona_rm.doctor.label_column import check_labels
from persona_rm.doctor.placement import check_placement
from persona_rm.errors import DataError, HostError
from persona_rm.hosts.common.finder import where
from persona_rm.pipeline.members import model_folder
from persona_rm.types import Persona
from tests.prompts.chat_samples import chat_tokenizer

PPO = ["python", "-m", "openrlhf.cli.train_ppo_ray"]
DPO = ["deepspeed", "--module", "openrlhf.cli.train_dpo"]
MODEL = ["--actor.model_name_or_path", str(model_folder("simulator_lm"))]
OURS = ["--train.agent_func_path", str(where("openrlhf", "agent"))]


@pytest.fixture
def bundle(tmp_path, space):
    users = [Persona("ann", directions=space.parse("Likes Science"))]
    return write_bundle(tmp_path / "b", users, method={"name": "pba_linear"}, annotator={"name": "simulator"})


def subject(bundle, tmp_path, flags, rows=None, trainer=PPO, **options):
    """The subject of a command on a file of these rows."""
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows or [{"prompt": "Tea?", "user": "ann"}]))
    return subject_of_command(bundle, [*trainer, *flags], data=data, port=0, variables={}, **options)


def said(findings):
    return "\n".join(f"{one.severity} {one.looked_at}: {one.what} -> {one.todo}" for one in findings)


@pytest.mark.parametrize(
    ("flags", "severity", "words"),
    [
        (["--input_key", "q"], "error", "--input_key is no flag of train_ppo_ray; did you mean --data.input_key?"),
        (["--num_nodes", "1"], "error", "did you mean one of --ref.num_nodes, --reward.num_nodes"),
        (["--remote_rm_url", "x"], "error", "did you mean 'reward.remote_url'"),
        (["--rollout.batch_size", "ten"], "error", "--rollout.batch_size: 'ten' is no int -> Correct the value"),
        (["--actor.optim", "adm"], "error", "'adm' is none of adam, muon; did you mean 'adam'"),
        (["--critic.adam.lr", "1e-6", "x"], "error", "--critic.adam.lr: it takes one value, found 2"),
        (["--vllm.enable_sleep", "yes"], "error", "it is a switch, which takes no value; found 'yes'"),
        (["--actor.num_nodes"], "error", "--actor.num_nodes: it needs a value"),
        (["--data.max_sam", "3", "--reward.clip_range", "-5", "5"], "ok", "all known to openrlhf"),
    ],
)
def test_flags_are_those_of_the_installed_trainer(bundle, tmp_path, flags, severity, words):
    (finding,) = check_command(subject(bundle, tmp_path, [*MODEL, *OURS, *flags]))
    assert finding.severity == severity
    assert words in said([finding])


@pytest.mark.parametrize(
    ("flags", "severity", "words"),
    [
        ([], "error", "the command asks no reward: neither --train.agent_func_path nor --reward.remote_url"),
        (["--train.agent_func_path", "/x/a.py"], "error", "there is no file /x/a.py on this machine -> `persona-rm"),
        (["--reward.remote_url", __file__], "note", "is a file of your own"),
        (["--reward.remote_url", "http://rm:8000/get_reward"], "ok", "flags, all known"),
        (OURS, "ok", "flags, all known"),
    ],
)
def test_where_the_command_takes_its_reward(bundle, tmp_path, flags, severity, words):
    first, *_ = check_command(subject(bundle, tmp_path, [*MODEL, *flags]))
    assert first.severity == severity
    assert words in said([first])


def test_without_the_host_flags_are_not_checked_and_that_is_said(bundle, tmp_path, monkeypatch):
    from persona_rm.hosts.openrlhf import host_flags

    monkeypatch.setattr(host_flags, "find_spec", lambda name: None)
    host_flags.known_flags.cache_clear()
    (finding,) = check_command(subject(bundle, tmp_path, ["--nonsense", "1"]))
    assert finding.severity == "note"
    assert "openrlhf is not installed here, so the command's flags are not checked" in finding.what
    assert "pip install openrlhf==" in finding.todo


def test_a_command_names_a_model_that_is_there(bundle, tmp_path):
    assert "error command: the command names no model" in said(check_command(subject(bundle, tmp_path, OURS)))
    gone = [*OURS, "--actor.model_name_or_path", "/models/none"]
    assert "warning command: there is no folder /models/none" in said(check_command(subject(bundle, tmp_path, gone)))


@pytest.mark.parametrize(
    ("flags", "severity", "words"),
    [
        (["--data.input_key", "prompt", "--data.label_key", "user"], "ok", "prompt, user of"),
        (
            ["--data.label_key", "user"],
            "error",
            "no --data.input_key, the host reads 'input', and the file has prompt",
        ),
        (
            ["--data.input_key", "prompt"],
            "error",
            "no --data.label_key, so every answer would get the population prior",
        ),
    ],
)
def test_columns_are_those_of_the_command(bundle, tmp_path, flags, severity, words):
    one = subject(bundle, tmp_path, flags)
    (finding,) = check_columns(one)
    assert finding.severity == severity
    assert words in finding.what
    assert "1 of 1 rows name a known user" in said(check_labels(one))


def test_a_named_column_that_is_missing_is_one_error(bundle, tmp_path):
    one = subject(bundle, tmp_path, [*MODEL, *OURS, "--data.input_key", "prompt", "--data.label_key", "usr"])
    with pytest.raises(DataError, match=r"--data\.label_key names it.*did you mean 'user'"):
        check_columns(one)
    assert check_labels(one) == []
    errors = [found for found in examine(one) if found.severity == "error"]
    assert {found.looked_at for found in errors} <= {"columns", "placement"}


def test_a_dpo_command_has_no_labels_and_three_columns(bundle, tmp_path):
    rows = [{"prompt": "Tea?", "chosen": "a", "rejected": "b", "user": "ann"}]
    model = ["--model.model_name_or_path", str(model_folder("simulator_lm"))]
    one = subject(bundle, tmp_path, [*model, "--data.prompt_key", "prompt"], rows, DPO)
    assert "ok columns: prompt, chosen, rejected of" in said(check_columns(one))
    assert check_labels(one) == check_placement(one) == []
    assert [found.severity for found in check_command(one)] == ["ok"]


def test_gpus_that_the_command_asks_for(bundle, tmp_path):
    one = subject(bundle, tmp_path, [*OURS, "--actor.num_gpus_per_node", "4", "--vllm.num_engines", "2"])
    (finding,) = check_placement(one)
    assert finding.severity == "error"
    # 4 for the actor, 2 engines, and the host's default of 8 each for reference and critic.
    assert "the command needs 22 workers of the trainer" in finding.what
    assert "persona-rm rehearse" in finding.todo
    sent = subject_of_command(bundle, ["ray", "job", "submit", "--address", "http://head:8265", "--", *PPO])
    (note,) = check_placement(sent)
    assert note.severity == "note"
    assert "submitted to http://head:8265" in note.what


def saved_tokenizer(folder, kind):
    chat_tokenizer(kind).save_pretrained(folder)
    (folder / "config.json").write_text("{}")
    return folder


CHAT = ["--data.input_key", "prompt", "--data.label_key", "user", "--actor.model_name_or_path"]


@pytest.mark.parametrize(
    ("kind", "more", "severity", "words"),
    [
        ("none", [], "ok", "the tokenizer has none"),
        ("none", ["--data.apply_chat_template"], "error", "has the host apply a chat template, and the tokenizer of"),
        ("llama3", [], "warning", "prompts reach the policy as plain text -> Add --data.apply_chat_template"),
        ("llama3", ["--data.apply_chat_template"], "ok", "in the turns of the chat template"),
    ],
)
def test_the_chat_form_of_the_command(bundle, tmp_path, kind, more, severity, words):
    model = saved_tokenizer(tmp_path / "model", kind)
    (finding,) = check_command_chat(subject(bundle, tmp_path, [*CHAT, str(model), *OURS, *more]))
    assert finding.severity == severity, finding
    assert words in said([finding])


def test_a_bundle_of_another_chat_form_than_the_commands(tmp_path, space):
    model, other = saved_tokenizer(tmp_path / "model", "llama3"), saved_tokenizer(tmp_path / "other", "chatml")
    users = [Persona("ann", directions=space.parse("Likes Science"))]
    method = {"name": "pba_linear"}
    folder = write_bundle(
        tmp_path / "b", users, method=method, annotator={"name": "simulator"}, chat="none", tokenizer=str(other)
    )
    flags = [*CHAT, str(model), *OURS, "--data.apply_chat_template"]
    findings = check_command_chat(subject(folder, tmp_path, flags))
    assert findings[0].severity == "warning"
    assert "has another chat template than the command's model" in findings[0].what
    assert findings[1].severity == "error", said(findings)
    assert "write the bundle with `chat: template`" in findings[1].what


def test_what_is_no_command_is_refused():
    with pytest.raises(HostError, match="takes no rewards of users"):
        subject_of_command(None, ["python", "-m", "openrlhf.cli.train_rm"])
