"""The wheel carries the library, its data, the plugins and the recipes, and no top-level folder beside them."""

import subprocess
import sys
import zipfile

import pytest

from tests.source import ROOT


@pytest.fixture(scope="module")
def wheel_names(tmp_path_factory) -> list[str]:
    pytest.importorskip("hatchling", reason="pip install hatchling builds the wheel without a network")
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = out.glob("*.whl")
    return zipfile.ZipFile(wheel).namelist()


def test_only_the_library_is_at_the_top(wheel_names):
    assert {name.split("/")[0] for name in wheel_names if ".dist-info" not in name} == {"persona_rm"}


def test_the_space_the_plugins_and_the_recipes_travel(wheel_names):
    for needed in ("persona_rm/space/alignx90.yaml", "persona_rm/_plugins/openrlhf/reward_func.py"):
        assert needed in wheel_names
    recipes = {p.relative_to(ROOT / "recipes").as_posix() for p in (ROOT / "recipes").rglob("*.yaml")}
    assert {f"persona_rm/_recipes/{name}" for name in recipes} <= set(wheel_names)


def test_nothing_that_is_ignored_travels(wheel_names):
    assert [n for n in wheel_names if "__pycache__" in n or n.startswith("persona_rm/runs")] == []
