"""Public class names and names of helper modules are unique in the package, so that a search finds one thing."""

import ast
from collections import defaultdict

from persona_rm.recipe_sections import ZOOS
from tests.source import PACKAGE, python_files

MAY_REPEAT = {"__init__", "__main__", "base", "config"}


def members_of_zoos() -> set[str]:
    """Modules that are named as in recipes: `llm` is an annotator and an inferrer."""
    return {target.partition(":")[0] for registry in ZOOS.values() for target in registry.table.values()}


def test_public_class_names_are_unique():
    places = defaultdict(list)
    for path in python_files("persona_rm"):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(PACKAGE)))
    assert {name: files for name, files in places.items() if len(files) > 1} == {}
    assert "RewardRequest" in places


def test_names_of_helper_modules_are_unique():
    zoo_members, places = members_of_zoos(), defaultdict(list)
    for path in python_files("persona_rm"):
        module = ".".join(["persona_rm", *path.relative_to(PACKAGE).with_suffix("").parts])
        if path.stem not in MAY_REPEAT and module not in zoo_members:
            places[path.stem].append(module)
    assert {name: modules for name, modules in places.items() if len(modules) > 1} == {}
    assert "types" in places
