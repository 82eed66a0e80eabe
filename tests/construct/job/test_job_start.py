"""Ray as the construction job and the launcher start it, where starting fails."""

import os
import sys

import pytest
import ray

from persona_rm.cluster.ray_start import connect, environment, ray_address
from persona_rm.construct.job import build
from persona_rm.construct.job.cluster import cluster
from persona_rm.errors import HostError, MissingExtra
from persona_rm.pipeline.stages.train import build_job
from persona_rm.recipe import Recipe


def starts(monkeypatch, *outcomes):
    """What `ray.init` does, call by call; returns the options of each call."""
    calls, left = [], list(outcomes)

    def init(**options):
        calls.append(options)
        if error := left.pop(0):
            raise error

    monkeypatch.setattr(ray, "init", init)
    return calls


def test_a_busy_machine_on_which_ray_starts_too_late_is_tried_again(monkeypatch):
    late = Exception("The current node timed out during startup. This could happen because ...")
    calls = starts(monkeypatch, late, late, None)
    connect(address="local")
    assert [call["address"] for call in calls] == ["local"] * 3


def test_ray_that_is_never_in_time_is_given_up(monkeypatch):
    calls = starts(monkeypatch, *[Exception("The current node timed out during startup.")] * 3)
    with pytest.raises(HostError, match="timed out during startup"):
        connect()
    assert len(calls) == 3


def test_ray_that_cannot_start_is_one_error_that_says_why(monkeypatch):
    calls = starts(monkeypatch, ConnectionError("no such address"))
    with pytest.raises(HostError, match="no Ray cluster could be started here: no such address"):
        connect(address="elsewhere")
    assert len(calls) == 1


def test_the_environment_comes_back():
    before = dict(os.environ)
    with environment({"ONLY": "this"}):
        assert dict(os.environ) == {"ONLY": "this"}
    assert dict(os.environ) == before


@pytest.mark.parametrize(("named", "address"), [("10.0.0.1:6379", "10.0.0.1:6379"), ("local", None), ("", None)])
def test_the_cluster_to_join_is_the_one_that_is_named(monkeypatch, tmp_path, named, address):
    monkeypatch.setenv("RAY_ADDRESS", named)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))  # where `ray start` would have left an address
    assert ray_address() == address


def test_a_cluster_that_runs_is_joined_as_it_is(monkeypatch):
    before = {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"}
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    calls = starts(monkeypatch, None)
    with cluster():
        assert {k: v for k, v in os.environ.items() if k != "RAY_ADDRESS"} == before
    assert not {"address", "_node_ip_address", "_temp_dir"} & calls[0].keys()


def test_without_ray_a_build_fails_before_it_reads_the_source(monkeypatch, tmp_path):
    """Reading may take an hour, and the stages after it need Ray."""
    recipe = Recipe(name="a", source={"name": "simulator", "users": 20, "posts": 20}, out=str(tmp_path), build={})
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"construction needs ray, .*: pip install persona_rm\[data\]"):
        build(build_job(recipe))
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "raw" in path.as_posix()]
