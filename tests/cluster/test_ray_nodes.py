"""Nodes, waits and folders of a Ray cluster; a build on two real nodes of one CPU each."""

import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from persona_rm.cluster.ray_nodes import actor_cpus, cluster_report, node_cpus
from persona_rm.cluster.ray_wait import ray_results, watched
from persona_rm.errors import HostError
from tests.construct.job.test_job_faults import SET, command, rows
from tests.ray_node import ray_nodes

pytest.importorskip("ray")
RECIPE = """\
name: nodes
seed: 3
source: {name: simulator, users: 40, test_users: 8, posts: 520}
build: {threshold: 0.95, split: {test: 0.2}, shard: 260, stall_timeout: 60}
"""
"""Two files, because a stage has no more actors than files, and a file has 256 rows at least."""
COVER = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none "$0" && exec "$@"']
"""A command that starts another one, for which its first argument is an empty folder of its own."""


@pytest.mark.parametrize("nodes", [[1], [1, 1], [1, 1, 1], [2], [2, 2], [8], [1, 4], [3, 1, 2], [64, 64, 2]], ids=str)
@pytest.mark.parametrize("actors", [1, 2, 3, 7, 32])
def test_a_task_of_one_cpu_fits_wherever_the_actors_are(nodes, actors):
    share = actor_cpus(actors, nodes)
    assert 0 <= share <= 1
    left = sorted(nodes, reverse=True)
    for _ in range(actors):  # the worst placement: each actor takes from the node that has most
        assert left[0] >= share, "an actor does not fit"
        left = sorted([left[0] - share, *left[1:]], reverse=True)
    assert left[0] >= 1 - 1e-9


def test_actors_hold_half_of_a_machine_of_two_cores():
    assert actor_cpus(2, [2]) == 0.5
    assert actor_cpus(2, [1, 1]) == 0


def test_watched_work_gives_its_result_or_its_error():
    assert watched("adding", lambda: 1 + 1, lambda: 0, 5) == 2
    with pytest.raises(ZeroDivisionError):
        watched("dividing", lambda: 1 // 0, lambda: 0, 5)
    # Work that is slower than the limit goes on while there is progress.
    assert watched("sleeping", lambda: time.sleep(2) or "slept", time.monotonic, 0.8) == "slept"


@pytest.mark.slow
@pytest.mark.usefixtures("cluster")
def test_a_wait_for_more_than_the_cluster_has_ends_with_the_demand_and_the_nodes(capfd):
    import ray

    started = time.monotonic()
    task = ray.remote(num_cpus=77)(lambda: 0)
    with pytest.raises(HostError, match=r"trying: no progress for \d+ s.*Waiting for room: 1 of 77 CPU.*of 4 CPU"):
        ray_results("trying", [task.remote()], 6)
    assert time.monotonic() - started < 30
    assert "trying: no progress for 2 s (ends at 6 s)" in " ".join(capfd.readouterr().err.split())
    end = time.monotonic() + 30
    while "of 77 CPU" in cluster_report() and time.monotonic() < end:  # Ray reports demand with a delay
        time.sleep(0.5)
    assert "of 77 CPU" not in cluster_report(), "what is not waited for any more is cancelled"
    with pytest.raises(HostError, match="looking: no progress"):
        watched("looking", lambda: time.sleep(20), lambda: 0, 1)
    assert node_cpus() == [4]


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory):
    """A cluster of two nodes of one CPU, with working folders of their own, and a folder that the second does not see;
    None if this system does not permit mounts."""
    folder = tmp_path_factory.mktemp("nodes")
    for name in ("a", "b", "hidden"):
        (folder / name).mkdir()
    cover = [*COVER, str(folder / "hidden")]
    permitted = subprocess.run([*cover, "true"], check=False, capture_output=True).returncode == 0
    # Ray's sockets are in the folder of the cluster, and the system allows paths of 107 characters.
    with tempfile.TemporaryDirectory(prefix="prm-") as short, ray_nodes(Path(short) / "nodes", **SET) as nodes:
        nodes.start("127.0.0.2", cwd=folder / "a")
        nodes.start("127.0.0.3", cwd=folder / "b", within=cover if permitted else [])
        yield {**nodes.env, "RAY_ADDRESS": nodes.head}, folder / "hidden" if permitted else None


def built(folder, out, env):
    """A build in a process whose working folder is `folder`."""
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE)
    return subprocess.run(command(recipe, out), capture_output=True, text=True, env=env, check=False, cwd=folder)


@pytest.mark.slow
def test_a_build_without_a_shared_folder_is_refused_before_work_starts(tmp_path, two_nodes):
    env, hidden = two_nodes
    if hidden is None:
        pytest.skip("unshare --mount is not permitted here, so both nodes see every folder")
    done = built(tmp_path, hidden / "out", env)
    assert done.returncode == 1
    assert "must be the same on every node" in done.stderr
    assert "(127.0.0.3)" in done.stderr
    assert "(127.0.0.2)" not in done.stderr
    assert not list(hidden.glob("out/stages/clean")), done.stderr
    assert not list(hidden.rglob("_seen*"))


@pytest.mark.slow
def test_a_build_on_two_nodes_of_one_cpu_ends_with_the_rows_of_one_node(tmp_path, two_nodes, shared_ray):
    env, _ = two_nodes
    # A relative folder: the workers have other working folders than the driver.
    two = built(tmp_path, "two", env)
    assert two.returncode == 0, two.stderr[-3000:]
    one = built(tmp_path, "one", {**env, **shared_ray})
    assert one.returncode == 0, one.stderr[-3000:]
    assert rows(tmp_path / "two") == rows(tmp_path / "one")
    assert len(rows(tmp_path / "two")) > 100
