"""Processes that compute at the same time share the cores."""

import os

import pytest

from persona_rm import threads
from persona_rm.hosts.common import host_environment
from persona_rm.threads import cores, thread_variables, threads_each


@pytest.fixture
def eight(monkeypatch, tmp_path):
    """A machine that lets this process use 8 cores, in a container without a quota."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)))
    monkeypatch.setattr(threads, "CPU_MAX", tmp_path / "cpu.max")
    return tmp_path / "cpu.max"


@pytest.mark.parametrize(
    ("quota", "expected"),
    [(None, 8), ("max 100000", 8), ("300000 100000", 3), ("50000 100000", 1), ("990000 100000", 8)],
)
def test_the_cores_are_those_of_the_affinity_and_of_the_quota(eight, quota, expected):
    if quota:
        eight.write_text(quota + "\n")
    assert cores() == expected


@pytest.mark.parametrize("processes", range(1, 9))
def test_all_processes_together_take_no_more_than_the_cores(eight, processes):
    assert 1 <= threads_each(processes) * processes <= 8


def test_more_processes_than_cores_get_one_thread_each(eight):
    assert threads_each(9) == 1
    assert threads_each(0) == 8


def test_what_the_user_set_stays(eight):
    assert thread_variables(2, {}) == {"OMP_NUM_THREADS": "4", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    assert thread_variables(2, {"OMP_NUM_THREADS": "3"})["OMP_NUM_THREADS"] == "3"
    assert thread_variables(2, {"VLLM_CPU_OMP_THREADS_BIND": "0-1"})["VLLM_CPU_OMP_THREADS_BIND"] == "0-1"


def test_a_rehearsed_job_divides_the_cores_among_trainer_and_reward_actors(eight, tmp_path):
    job = host_environment(tmp_path, "cpu", base={}, gpus=3, actors=1)
    assert job["OMP_NUM_THREADS"] == "2"
    # Ray starts the rollout's actors on clusters that do not see the variables of our shell.
    assert '"VLLM_CPU_OMP_THREADS_BIND": "nobind"' in job["RAY_JOB_CONFIG_JSON_ENV_VAR"]
    assert host_environment(tmp_path, "cpu", job="dpo", base={}, gpus=1)["OMP_NUM_THREADS"] == "8"
    assert "OMP_NUM_THREADS" not in host_environment(tmp_path, "gpu", base={}, gpus=3, actors=1)
