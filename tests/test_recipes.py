"""Every recipe that is shipped parses, and says what it is before it says anything else."""

import importlib
import re
from pathlib import Path

import pytest
import yaml

from tests.source import ROOT

RECIPES = sorted((ROOT / "recipes").rglob("*.yaml"))


def opening(path: Path) -> str:
    """The comment that a file opens with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    head = []
    for line in lines:
        if not line.startswith("#"):
            break
        head.append(line.lstrip("# "))
    return "\n".join(head)


def test_there_are_recipes():
    assert RECIPES


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: str(p.relative_to(ROOT / "recipes")))
def test_a_recipe_parses(path):
    recipe = importlib.import_module("persona_rm.recipe")
    assert recipe.load_recipe(path).model_dump()


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: str(p.relative_to(ROOT / "recipes")))
def test_a_saved_recipe_with_all_its_defaults_is_the_same_recipe(path, tmp_path):
    recipe = importlib.import_module("persona_rm.recipe")
    loaded = recipe.load_recipe(path)
    recipe.save_recipe(loaded, tmp_path / "recipe.yaml")
    assert recipe.load_recipe(tmp_path / "recipe.yaml") == loaded


@pytest.mark.parametrize("path", RECIPES, ids=lambda p: str(p.relative_to(ROOT / "recipes")))
def test_a_recipe_opens_with_what_hardware_time_and_command(path):
    head = opening(path)
    assert len(head.splitlines()[0]) > 10, "first line: what the recipe does"
    assert re.search(r"(?i)hardware|CPU|GPU|core", head), "say on what hardware"
    assert re.search(r"(?i)\b(minute|hour|second|day)s?\b", head), "say how long it takes"
    assert re.search(rf"(persona-rm|make) .*({path.stem}|{path.name}|quickstart)", head), "give the exact command"


def test_the_manifest_for_kubernetes_runs_a_packaged_recipe_on_the_pinned_ray():
    job = yaml.safe_load((ROOT / "recipes" / "cluster" / "kuberay.yml").read_text(encoding="utf-8"))
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    tool, verb, recipe, *overrides = job["spec"]["entrypoint"].split()
    assert (tool, verb) == ("persona-rm", "build")
    path = next(path for path in RECIPES if path.stem == recipe)
    loaded = importlib.import_module("persona_rm.recipe").load_recipe(path, overrides)
    assert loaded.out.startswith("/shared/")
    cluster = job["spec"]["rayClusterSpec"]
    pins = (ROOT / "recipes" / "install" / "gpu.txt").read_text(encoding="utf-8").splitlines()
    assert f"ray=={cluster['rayVersion']}" in pins
    pods = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for pod in pods:
        (container,) = pod["template"]["spec"]["containers"]
        assert {"name": "shared", "mountPath": "/shared"} in container["volumeMounts"]
        assert container["env"][0]["valueFrom"]["secretKeyRef"], "the salt is a secret, not a text in the manifest"
