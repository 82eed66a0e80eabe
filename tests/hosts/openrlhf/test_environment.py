import json
import os

import pytest

from persona_rm.hosts.openrlhf import environment, gpus_needed


def test_a_laptop_gets_the_rehearsal_and_pretended_gpus():
    env = environment("cpu", gpus=3, base={"PYTHONPATH": "/somewhere", "HOME": "/h"})
    first, *rest = env["PYTHONPATH"].split(":")
    assert first.endswith("rehearsal")
    assert "/somewhere" in rest
    assert json.loads(env["RAY_OVERRIDE_RESOURCES"])["GPU"] == 3
    assert env["CUDA_VISIBLE_DEVICES"] == "-1,-1,-1"
    assert env["HF_HUB_OFFLINE"] == "1"
    assert env["HOME"] == "/h"


def test_a_gpu_machine_gets_no_patch():
    env = environment("gpu", base={})
    assert "rehearsal" not in env.get("PYTHONPATH", "")
    assert "RAY_OVERRIDE_RESOURCES" not in env


def test_what_the_rollout_actors_need_travels_in_the_job_configuration():
    env = environment("cpu", extra={"PERSONA_RM_BUNDLE": "/b"}, base={"SECRET": "x"})
    job = json.loads(env["RAY_JOB_CONFIG_JSON_ENV_VAR"])
    travels = job["runtime_env"]["env_vars"]
    assert travels["PERSONA_RM_BUNDLE"] == "/b"
    assert "rehearsal" in travels["PYTHONPATH"]
    assert "SECRET" not in travels


def test_the_host_sets_three_variables_itself_and_a_clash_would_be_an_error_of_ray():
    env = environment("cpu", base={"NCCL_DEBUG": "INFO", "RAY_ENABLE_ZERO_COPY_TORCH_TENSORS": "1"})
    travels = json.loads(env["RAY_JOB_CONFIG_JSON_ENV_VAR"])["runtime_env"]["env_vars"]
    assert not {"TOKENIZERS_PARALLELISM", "NCCL_DEBUG", "RAY_ENABLE_ZERO_COPY_TORCH_TENSORS"} & travels.keys()


def test_dpo_is_one_process_with_a_port_of_its_own():
    env = environment("cpu", job="dpo", base={})
    assert (env["RANK"], env["WORLD_SIZE"], env["MASTER_ADDR"]) == ("0", "1", "127.0.0.1")
    assert 1024 < int(env["MASTER_PORT"]) < 65536
    assert "RAY_JOB_CONFIG_JSON_ENV_VAR" not in env


def test_the_environment_of_this_process_is_left_alone(monkeypatch):
    monkeypatch.delenv("DS_ACCELERATOR", raising=False)
    environment("cpu", extra={"X": "1"})
    assert "DS_ACCELERATOR" not in os.environ


@pytest.mark.parametrize(
    ("args", "need"),
    [
        ({"algo.advantage.estimator": "reinforce_baseline", "algo.kl.init_coef": 0}, 2),
        ({"algo.advantage.estimator": "gae", "algo.kl.init_coef": 0.01}, 4),
        ({}, 4),
        ({"train.colocate_all": True}, 1),
        ({"reward.remote_url": None}, 5),
    ],
)
def test_gpus_needed(args, need):
    ones = {f"{role}.num_gpus_per_node": 1 for role in ("actor", "ref", "critic", "reward")}
    assert gpus_needed({**ones, "vllm.num_engines": 1, "reward.remote_url": "f.py", **args}) == need


def test_gpus_needed_of_a_team():
    args = {"actor.num_nodes": 2, "vllm.num_engines": 4, "vllm.tensor_parallel_size": 2, "reward.remote_url": "f.py"}
    assert gpus_needed(args) == 8 + 16 + 8 + 8
