"""Room for a pool on a real cluster: too little of it, what is kept for the dead, growing and shrinking."""

import os
import signal
import subprocess
import sys
import time

import pytest

pytest.importorskip("ray")

import ray

from persona_rm.bundle import User, write_bundle
from persona_rm.errors import HostError
from persona_rm.serving.pool.named_actor import named
from persona_rm.serving.pool.pool import Policy, pool_names, running, start_inference, start_pool
from persona_rm.serving.pool.resources import cluster_nodes, reserved
from persona_rm.types import Persona, RewardRequest
from tests.serving.pool.pool_samples import THREADS, ask_all, client, pid, slow, until

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]


def free():
    return sum(node.free.get("CPU", 0) for node in cluster_nodes())


def test_a_cluster_that_is_too_small_is_said_and_nothing_is_left_behind(bundle):
    before, groups = free(), reserved("")
    started = time.monotonic()
    with pytest.raises(HostError, match=r"asked for 5 reward actors of 1 CPU and 0 GPU each.*too small.*--actors"):
        start_pool(bundle, 5, namespace="small")
    with pytest.raises(HostError, match=r"asked for 1 reward actors of 1 CPU and 1 GPU each.*0 of 0 GPU free"):
        start_pool(bundle, 1, num_gpus=1, namespace="small")
    assert time.monotonic() - started < 30, "not a hang"
    assert (named("small"), free(), reserved("")) == ([], before, groups)


def test_a_cluster_that_others_hold_is_said_and_nothing_is_left_behind(bundle):
    before = free()
    host = ray.util.placement_group([{"CPU": before - 0.5}])
    assert host.wait(30)
    try:
        groups = reserved("")
        with pytest.raises(HostError, match=r"others hold the rest: start the actors before the host.*0\.5 of 4 CPU"):
            start_pool(bundle, 1, namespace="late")
        assert (named("late"), reserved("")) == ([], groups)
    finally:
        ray.util.remove_placement_group(host)
    until(lambda: free() == before)


def test_a_bundle_that_cannot_score_leaves_nothing_behind(space, tmp_path):
    people = [User(Persona("u", directions=(1,) * len(space)))]
    broken = write_bundle(tmp_path / "broken", people, method={"name": "pba_linear"})
    before = free()
    with pytest.raises(HostError, match="the reward actors did not start"):
        start_pool(broken, 1, namespace="broken")
    assert (named("broken"), reserved("broken/")) == ([], [])
    until(lambda: free() == before)


def test_the_share_of_a_dead_actor_waits_for_its_replacement(bundle):
    pool = start_inference(bundle, namespace="share", num_cpus=0.5)
    try:
        before = free()
        os.kill(pid("share", "inference-0"), signal.SIGKILL)
        assert {free() for _ in range(20) if not time.sleep(0.02)} == {before}
        until(lambda: pid("share", "inference-0"))
    finally:
        pool.stop()
    until(lambda: free() == before + 0.5)


def test_a_pool_that_grows_and_shrinks_goes_on_serving(bundle, asked):
    rows, expected = asked
    limits = {"busy_rows": 4, "busy_checks": 2, "idle_seconds": 3, "drain_seconds": 6, "every": 0.5}
    pool = start_pool(bundle, 1, namespace="grows", policy=Policy(1, 2, **limits), max_rows=4)
    one = client(pool)
    try:
        slow("grows", "reward-0", 0.2)
        rounds = 0
        while pool.health()["ready"] != ["reward-0", "reward-1"]:
            assert ask_all(one, rows) == expected
            rounds += 1
            assert rounds < 20, "it did not grow"
        assert running("grows").names == ("reward-0", "reward-1")
        one.roster.every = 0
        assert ask_all(one, rows) == expected
        counts = [info["counts"].get("scored", 0) for info in pool.info()]
        assert min(counts) > 0, "the new one serves too"
        while pool_names("grows") != ["reward-0"]:
            assert one.reward(RewardRequest(*rows[rounds % 64])).reward == expected[rounds % 64]
            rounds += 1
            assert rounds < 200, "it did not shrink"
            time.sleep(0.5)
        assert pool.health()["counts"]["ended"] == 1
        assert reserved("grows/") == ["grows/reward-0"]
        assert ask_all(one, rows[:THREADS]) == expected[:THREADS]
    finally:
        pool.stop()
    assert (named("grows"), reserved("grows/")) == ([], [])


def test_the_command_line_refuses_and_stops(bundle):
    command = [sys.executable, "-m", "persona_rm.serving", "--namespace", "cli"]

    def call(*args):
        return subprocess.run([*command, *args], capture_output=True, text=True, timeout=120, check=False)

    refused = call("start", str(bundle), "--actors", "9")
    assert refused.returncode == 1
    assert "error: asked for 9 reward actors of 1 CPU" in refused.stderr
    assert call("start", str(bundle), "--cpus", "0.5", "--max-actors", "2").returncode == 0
    health = call("health")
    assert '"reward-0"' in health.stdout
    assert '"max_actors": 2' in health.stdout
    assert call("stop").returncode == 0
    assert (named("cli"), reserved("cli/")) == ([], [])
