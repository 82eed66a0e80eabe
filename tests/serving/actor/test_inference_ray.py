"""The inference actor on a real cluster: deaths, several processes, and the command line."""

import json
import os
import subprocess
import sys
import time

import pytest

from persona_rm.errors import DataError, HostError
from persona_rm.serving.__main__ import _run, parse
from persona_rm.serving.client import RayTransport, RewardClient
from persona_rm.serving.pool.pool import INFERENCE, pool_names, running, start_inference, start_pool, wants_inference
from tests.serving.serving_samples import items, users_bundle, votes

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("cluster")]
ray = pytest.importorskip("ray")

ASKER = """
import json, sys
import ray
from persona_rm.serving.client import RayTransport, RewardClient
ray.init(address=sys.argv[1], namespace="other", log_to_driver=False, logging_level="warning")
client = RewardClient(RayTransport(sys.argv[2]), deadline=60)
found = [client.profile(f"u{i % 20}", "Hi") for i in range(100)]
known = client.directions([f"u{i}" for i in range(20)])
print(json.dumps([[one.text for one in found], [one.directions for one in known]]))
"""


@pytest.fixture
def bundle(tmp_path, space):
    return users_bundle(tmp_path / "bundle", space, n=20)


def ask(pool, method, *args):
    return ray.get(getattr(ray.get_actor(INFERENCE, namespace=pool.namespace), method).remote(*args), timeout=60)


def test_a_killed_actor_goes_on_from_the_store_with_the_same_version(bundle, space):
    pool = start_inference(bundle, namespace="killed")
    try:
        assert [ask(pool, "observe", "u0", items(space, dim)) for dim in (7, 8)] == [1, 2]
        before = ask(pool, "directions", ["u0", "u1"])
        ray.kill(ray.get_actor(INFERENCE, namespace="killed"), no_restart=False)
        client = RewardClient(RayTransport("killed"), deadline=60)
        assert client.directions(["u0", "u1"]) == before
        assert before[0].version == client.profile("u0", "Hi").version == 2
        assert ask(pool, "info")["counts"]["directions"] == 2, "a new process counts anew"
        assert ask(pool, "observe", "u0", items(space, 9)) == 3
    finally:
        pool.stop()


def test_two_processes_are_answered_alike_while_a_third_writes(cluster, bundle, space):
    pool = start_inference(bundle, namespace="shared")
    try:
        command = [sys.executable, "-c", ASKER, cluster["RAY_ADDRESS"], "shared"]
        askers = [subprocess.Popen(command, stdout=subprocess.PIPE, env=dict(os.environ)) for _ in range(2)]
        versions = [ask(pool, "observe", "new", items(space, i, n=1)) for i in range(20)]
        texts, known = zip(
            *[json.loads(one.communicate(timeout=120)[0].splitlines()[-1]) for one in askers], strict=True
        )
        assert [one.returncode for one in askers] == [0, 0]
        assert versions == list(range(1, 21))
        assert texts[0] == texts[1] == [space.describe(votes(space, i % 20)) for i in range(100)]
        assert known[0] == known[1] == [list(votes(space, i)) for i in range(20)]
        assert ask(pool, "info")["counts"]["profiles"] == 200
    finally:
        pool.stop()


def test_calls_from_outside_meet_in_one_computation(bundle):
    pool = start_inference(bundle, namespace="batched", max_wait=1.0)
    try:
        handle = ray.get_actor(INFERENCE, namespace="batched")
        ray.get([handle.profile.remote(f"u{i % 20}", "Hi") for i in range(64)])
        assert ask(pool, "info")["mean_batch"] > 4
        with pytest.raises(DataError, match="no item 'none' here"):
            ask(pool, "forget", "u0", ["none"])
    finally:
        pool.stop()


def test_the_command_line_starts_names_and_stops_it(bundle, tmp_path, space):
    without_model = {"method": {"name": "pba_linear", "scale": 0.5}, "annotator": {"name": "simulator"}}
    plain = users_bundle(tmp_path / "plain", space, profiles=None, **without_model)
    stored = users_bundle(tmp_path / "stored", space, **without_model)
    assert (wants_inference(plain), wants_inference(stored)) == (False, True)
    for folder, flags, with_it in ((plain, [], False), (plain, ["--inference"], True), (stored, [], True)):
        started = _run(parse(["--namespace", "told", "start", str(folder), "--cpus", "0.5", *flags]))
        expected = ["reward-0", *([INFERENCE] if with_it else [])]
        assert [info["name"] for info in started] == expected
        assert [info["name"] for info in _run(parse(["--namespace", "told", "info"]))] == expected
        assert pool_names("told") == ["reward-0"]
        with pytest.raises(HostError, match=r"'reward-0'.*already run in namespace 'told'"):
            start_pool(folder, namespace="told")
        assert _run(parse(["--namespace", "told", "stop"])) == {"stopped": expected}
        wait_until_gone("told")


def wait_until_gone(namespace):
    end = time.monotonic() + 30
    while running(namespace).every and time.monotonic() < end:
        time.sleep(0.1)
    assert running(namespace).every == ()


def test_an_actor_that_cannot_infer_does_not_start(bundle):
    text = (bundle / "bundle.yaml").read_text()
    (bundle / "bundle.yaml").write_text(text + "inferrer_dir: none\n")
    with pytest.raises(HostError, match=r"the inference actor did not start \(0\.25 CPU\)(?s:.*)inferrer_dir"):
        start_inference(bundle, namespace="broken")
