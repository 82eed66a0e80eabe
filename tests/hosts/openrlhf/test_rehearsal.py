from pathlib import Path

import pytest

from persona_rm.hosts.openrlhf import flags, gpus_needed, rehearse

TEAM = {
    "actor.model_name_or_path": "meta-llama/Llama-3.1-8B-Instruct",
    "actor.num_nodes": 2,
    "actor.num_gpus_per_node": 8,
    "vllm.num_engines": 2,
    "vllm.tensor_parallel_size": 4,
    "vllm.sync_backend": "nccl",
    "vllm.enable_sleep": True,
    "train.colocate_all": True,
    "ds.zero_stage": 3,
    "ds.packing_samples": True,
    "ds.ring_attn_size": 2,
    "ds.attn_implementation": "flash_attention_2",
    "data.max_len": 4096,
    "rollout.batch_size": 128,
    "rollout.n_samples_per_prompt": 8,
    "rollout.micro_batch_size": 16,
    "train.batch_size": 1024,
    "train.dynamic_batch_enable": True,
    "algo.advantage.estimator": "reinforce_baseline",
    "algo.kl.init_coef": 1e-4,
    "actor.adam.lr": 5e-7,
    "ckpt.output_dir": "/runs/important",
    "ckpt.load_enable": True,
    "logger.wandb.key": "secret",
    "reward.remote_url": "reward_func.py",
    "data.prompt_dataset": "prompts.jsonl",
}
DPO = {
    "model.model_name_or_path": "8B",
    "ref.model_name_or_path": "8B",
    "train.batch_size": 256,
    "ds.zero_stage": 3,
    "ds.packing_samples": True,
}


def small(args=TEAM, **kwargs):
    return rehearse(args, model=Path("tiny"), out=Path("out"), on="cpu", **kwargs)


def test_an_eight_gpu_recipe_becomes_one_for_a_laptop():
    args, env, _ = small()
    expected = {
        "actor.num_nodes": 1,
        "actor.num_gpus_per_node": 1,
        "ref.num_gpus_per_node": 1,
        "vllm.tensor_parallel_size": 1,
        "vllm.sync_backend": "gloo",
        "vllm.enforce_eager": True,
        "ds.zero_stage": 2,
        "ds.attn_implementation": "sdpa",
        "ds.ring_attn_size": 1,
        "data.max_len": 512,
        "rollout.batch_size": 8,
        "train.batch_size": 8,
        "actor.model_name_or_path": "tiny",
    }
    assert {k: args[k] for k in expected} == expected
    gone = {"train.colocate_all", "vllm.enable_sleep", "ds.packing_samples", "train.dynamic_batch_enable"}
    assert not (gone | {"ckpt.load_enable", "logger.wandb.key"}) & args.keys()
    assert gpus_needed(args) == 3
    assert "rehearsal" in env["PYTHONPATH"]


def test_what_is_learned_and_how_stays_the_teams():
    args, _, _ = small()
    kept = (
        "algo.advantage.estimator",
        "algo.kl.init_coef",
        "actor.adam.lr",
        "reward.remote_url",
        "data.prompt_dataset",
    )
    assert {k: args[k] for k in kept} == {k: TEAM[k] for k in kept}


def test_every_change_is_listed_with_old_new_and_reason():
    args, _, changes = small()
    changed = {k for k in args.keys() | TEAM.keys() if args.get(k) != TEAM.get(k)}
    assert {line.split(":")[0] for line in changes} - {"environment"} == changed
    assert "vllm.tensor_parallel_size: 4 -> 1: one process for each model fits a laptop" in changes
    assert all(len(line.split(": ", 2)) == 3 or line.startswith("environment") for line in changes)


def test_a_rehearsal_never_writes_over_the_real_run():
    args, _, _ = small()
    assert args["ckpt.output_dir"] == "out/model"
    assert args["ckpt.path"] == "out/checkpoints"
    assert args["logger.tensorboard_dir"] == "out/tensorboard"


@pytest.mark.parametrize("recipe", [TEAM, DPO])
def test_rehearsing_a_rehearsal_changes_nothing(recipe):
    once, _, _ = small(recipe)
    again, _, changes = small(once)
    assert again == once
    assert [line for line in changes if not line.startswith("environment")] == []


def test_the_recipe_itself_is_left_alone():
    before = dict(TEAM)
    small()
    assert before == TEAM


def test_dpo():
    args, env, changes = small(DPO)
    assert args["model.model_name_or_path"] == args["ref.model_name_or_path"] == "tiny"
    assert args["train.batch_size"] == 8
    assert "ds.packing_samples" not in args
    assert env["WORLD_SIZE"] == "1"
    assert not any(key.startswith(("vllm.", "rollout.")) for key in args)
    assert changes


@pytest.mark.parametrize(("batch", "samples", "micro"), [(6, 1, 4), (3, 1, 8), (8, 2, 3), (1, 1, 1)])
def test_batches_stay_whole(batch, samples, micro):
    args, _, _ = small({
        **TEAM,
        "rollout.batch_size": batch,
        "rollout.n_samples_per_prompt": samples,
        "rollout.micro_batch_size": micro,
        "train.micro_batch_size": micro,
    })  # fmt: skip
    rollout = args["rollout.batch_size"] * args["rollout.n_samples_per_prompt"]
    assert args["train.batch_size"] <= rollout
    assert rollout % args["rollout.micro_batch_size"] == 0
    assert args["train.batch_size"] % args["train.micro_batch_size"] == 0


def test_a_machine_with_a_gpu_keeps_what_needs_one():
    args, env, _ = rehearse(TEAM, on="gpu")
    assert args["ds.packing_samples"] is True
    assert args["ds.attn_implementation"] == "flash_attention_2"
    assert args["actor.num_gpus_per_node"] == 1
    assert "rehearsal" not in env.get("PYTHONPATH", "")


def test_the_flags_of_a_rehearsal_can_be_given_to_the_host():
    assert "--vllm.enforce_eager" in flags(small()[0])
