"""A build on two Ray nodes: real ones, of one CPU each, with working folders of their own."""

import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.construct.job.test_job_faults import SET, command, rows
from tests.ray_node import ray_nodes

pytest.importorskip("ray")
pytestmark = pytest.mark.slow
RECIPE = """\
name: nodes
seed: 3
source: {name: simulator, users: 40, test_users: 8, posts: 120}
build: {threshold: 0.95, mirror: true, split: {test: 0.2}, shard: 16, annotate_batch: 8, stall_timeout: 60}
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def short():
    """A folder with a short path: Ray's sockets are in it, and the system allows 107 characters."""
    with tempfile.TemporaryDirectory(prefix="prm-") as folder:
        yield Path(folder) / "nodes"


def built(recipe, out, env, **more):
    return subprocess.run(command(recipe, out), capture_output=True, text=True, env=env, check=False, **more)


def test_a_build_on_two_nodes_of_one_cpu_ends_with_the_rows_of_one_node(tmp_path, recipe, short, shared_ray):
    for name in "ab":
        (tmp_path / name).mkdir()
    with ray_nodes(short, **SET) as nodes:
        nodes.start("127.0.0.2", cwd=tmp_path / "a")
        nodes.start("127.0.0.3", cwd=tmp_path / "b")
        # A relative folder: the workers have other working folders than the driver.
        two = built(recipe, "two", {**nodes.env, "RAY_ADDRESS": nodes.head}, cwd=tmp_path)
    assert two.returncode == 0, two.stderr[-3000:]
    one = built(recipe, tmp_path / "one", {**nodes.env, **shared_ray})
    assert one.returncode == 0, one.stderr[-3000:]
    assert rows(tmp_path / "two") == rows(tmp_path / "one")
    assert len(rows(tmp_path / "two")) > 20
