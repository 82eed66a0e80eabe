import socket
import sys

import pytest

from persona_rm.hosts.common import device, free_port, host_environment, job_config
from persona_rm.hosts.common import env as host_env


@pytest.mark.parametrize(
    ("environ", "gpu", "cuda", "expected"),
    [
        ({}, True, True, "gpu"),
        ({}, True, False, "cpu"),
        ({}, False, True, "cpu"),
        ({"CUDA_VISIBLE_DEVICES": ""}, True, True, "cpu"),
        ({"CUDA_VISIBLE_DEVICES": "-1,-1"}, True, True, "cpu"),
        ({"CUDA_VISIBLE_DEVICES": "0"}, True, True, "gpu"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8a1b,1"}, True, True, "gpu"),
        ({"PERSONA_RM_DEVICE": "cpu"}, True, True, "cpu"),
        ({"PERSONA_RM_DEVICE": "gpu"}, False, False, "gpu"),
    ],
)
def test_device(monkeypatch, environ, gpu, cuda, expected):
    monkeypatch.setattr(host_env, "_nvidia_devices", lambda: gpu)
    monkeypatch.setattr(host_env, "_torch_has_cuda", lambda: cuda)
    assert device(environ) == expected


def test_a_free_port_can_be_listened_on():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", free_port()))


def test_only_named_variables_travel_in_the_job_configuration(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/opt/rm/bin/python")
    found = job_config({"PERSONA_RM_BUNDLE": "/b", "SECRET": "x", "HF_HUB_OFFLINE": "1"})
    assert found["runtime_env"] == {"env_vars": {"PERSONA_RM_BUNDLE": "/b", "HF_HUB_OFFLINE": "1"}}


def test_the_patches_of_a_host_come_first_on_the_path_once(tmp_path):
    path = f"/a:{tmp_path}:/b"
    env = host_environment(tmp_path, "cpu", base={"PYTHONPATH": path}, gpus=1)
    assert env["PYTHONPATH"] == f"{tmp_path}:/a:/b"
    assert host_environment(tmp_path, "gpu", base={"PYTHONPATH": path})["PYTHONPATH"] == path


def test_a_python_at_a_path_with_spaces_is_quoted_for_rays_shell(monkeypatch):
    monkeypatch.setattr(sys, "executable", "/opt/rm/bin/python")
    assert "py_executable" not in job_config({})["runtime_env"]
    monkeypatch.setattr(sys, "executable", "/my projects/.venv/bin/python")
    assert job_config({})["runtime_env"]["py_executable"] == "'/my projects/.venv/bin/python'"
