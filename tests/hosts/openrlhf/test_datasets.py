from collections.abc import Callable
from pathlib import Path

import pytest

from persona_rm.errors import DataError, HostError
from persona_rm.hosts import load_host
from persona_rm.hosts.base import LabelledPrompt
from persona_rm.hosts.openrlhf.datasets import check_dpo
from persona_rm.serving.labels import read_label


def test_the_label_of_a_row_names_its_user_and_the_bare_prompt():
    [row] = load_host("openrlhf").labels([LabelledPrompt("Likes tea. Hello?", "u7", "Hello?")])
    assert row == {"prompt": "Likes tea. Hello?", "label": {"user": "u7", "prompt": "Hello?"}}
    label = read_label(row["label"])
    assert (label.user, label.prompt, label.bad) == ("u7", "Hello?", None)


def test_the_flags_of_ppo_name_the_columns_of_these_rows_and_the_recipes_come_last(tmp_path):
    args = load_host("openrlhf").ppo_args(Path("m"), tmp_path / "p.jsonl", tmp_path, {"data.label_key": "other"})
    assert args == {
        "actor.model_name_or_path": "m",
        "data.prompt_dataset": str(tmp_path / "p.jsonl"),
        "data.input_key": "prompt",
        "data.label_key": "other",
        "ckpt.output_dir": str(tmp_path / "model"),
        "ckpt.path": str(tmp_path / "ckpt"),
    }


def test_the_dpo_job_reads_the_rows_and_trains_against_its_own_start(tmp_path):
    job = load_host("openrlhf").dpo_job(
        tmp_path / "m", tmp_path / "rows.jsonl", tmp_path, {"train.batch_size": 8}, "cpu"
    )
    given = dict(zip(job.argv[3::2], job.argv[4::2], strict=True))
    assert given["--model.model_name_or_path"] == given["--ref.model_name_or_path"] == str(tmp_path / "m")
    assert given["--data.dataset"] == str(tmp_path / "rows.jsonl")
    assert [given[f"--data.{key}_key"] for key in ("prompt", "chosen", "rejected")] == ["prompt", "chosen", "rejected"]
    assert given["--train.batch_size"] == "8"
    assert job.env["WORLD_SIZE"] == "1"


def test_rows_that_the_host_would_cut_are_set_apart(tiny_model: Callable[..., Path]):
    rows = [
        {"prompt": "Q: ", "chosen": "yes", "rejected": "no"},
        {"prompt": "Q: ", "chosen": "yes", "rejected": "no " * 40},
        {"prompt": "Q: " * 40, "chosen": "yes", "rejected": "no"},
    ]
    host = load_host("openrlhf")
    assert host.dpo_rows(rows, {"data.max_len": 32}, tiny_model(0)) == (rows[:1], rows[1:])
    assert host.dpo_rows(rows, {}, tiny_model(0)) == (rows, [])
    with pytest.raises(DataError, match=r"each of 2 rows has more than data\.max_len = 32 tokens"):
        host.dpo_rows(rows[1:], {"data.max_len": 32}, tiny_model(0))


def test_sizes_that_the_pipeline_asks_for():
    host = load_host("openrlhf")
    assert host.samples_per_step({"rollout.batch_size": 16, "rollout.n_samples_per_prompt": 4}) == 64
    assert host.samples_per_step({"rollout.batch_size": 16}) == 16
    assert host.answer_tokens({"rollout.max_new_tokens": 32}) == 32
    assert host.answer_tokens({}) is None


def test_the_check_of_flags_is_the_hosts():
    host = load_host("openrlhf")
    host.check({})
    host.check({"algo.dynamic_filtering_enable": True}, "skip_group")
    with pytest.raises(HostError, match=r"on_failure is skip_group, and algo\.dynamic_filtering_enable is off"):
        host.check({}, "skip_group")


@pytest.mark.parametrize(
    ("rows", "args", "steps"),
    [(7, {"train.batch_size": 4}, 1), (3, {"train.batch_size": 4, "train.max_epochs": 9}, 0), (200, {}, 1)],
)
def test_a_job_of_fewer_than_two_steps_is_refused_because_it_learns_nothing(rows, args, steps):
    with pytest.raises(HostError, match=f"{rows} rows make {steps} whole .* train.batch_size to {rows // 2}"):
        check_dpo(rows, args)
    check_dpo(rows, {**args, "train.batch_size": rows // 2})
    if steps:
        check_dpo(rows, {**args, "lr_warmup_ratio": 0})
