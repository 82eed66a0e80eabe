"""Who may import whom: a lower layer never imports a higher one, and zoos never meet. And who may name a host."""

import ast
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.source import PACKAGE, ROOT, Import, imports, module_name, python_files

ZOOS = ("sources", "annotators", "inferrers", "methods", "benchmarks")
LAYERS: tuple[tuple[str, ...], ...] = (
    ("types", "errors", "config", "extras", "interpreter", "threads", "maths", "io", "cluster"),
    ("registry", "space", "prompts", "simulator", "profiles"),
    ("backends",),
    ("features",),
    ZOOS,
    ("construct", "users", "bundle", "report"),
    ("serving",),
    ("hosts",),
    ("overrides", "recipe", "recipe_sections", "pipeline", "doctor"),
    ("cli", "__main__"),
    ("plugins",),
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
HEAVY = ("torch", "transformers", "sentence_transformers", "ray", "vllm", "openrlhf", "deepspeed")
MODELS = ("torch", "transformers", "sentence_transformers", "tokenizers")
RAY_AT = ("persona_rm.cluster", "persona_rm.serving", "persona_rm.hosts", "persona_rm.construct.job")
TRAINERS = ("openrlhf", "trl", "verl")
HOST_PACKAGES = (*TRAINERS, "vllm", "deepspeed")
NAMES_A_HOST = re.compile(r"openrlhf|\b(?:trl|verl)\b", re.IGNORECASE)
TABLES = ("hosts/__init__.py", "cli/")
"""Where the library names its hosts: the table of them, and the command line, whose help says which there are."""


def all_imports() -> list[Import]:
    files = python_files("persona_rm")
    return [i for path in files for i in imports(ast.parse(path.read_text(encoding="utf-8")), module_name(path))]


def part(module: str) -> str | None:
    """The part of the library that a module belongs to: "space" for persona_rm.space.space_file, None outside."""
    pieces = module.split(".")
    return pieces[1] if pieces[0] == "persona_rm" and len(pieces) > 1 and pieces[1] != "__version__" else None


def is_under(module: str, *prefixes: str) -> bool:
    return any(module == prefix or module.startswith(prefix + ".") for prefix in prefixes)


def upward(found: list[Import]) -> list[str]:
    """Imports that go up, or from one zoo to another."""
    out = []
    for importer, module, _ in found:
        here, there = part(importer), part(module)
        if here is None or there is None or here == there:
            continue
        if RANK.get(there, 0) > RANK.get(here, 0) or (here in ZOOS and there in ZOOS):
            out.append(f"{importer} imports {module}")
    return out


def test_every_part_of_the_library_has_a_layer():
    parts = {part(module_name(path)) for path in python_files("persona_rm")} - {None}
    unknown = sorted(p for p in parts if p not in RANK)
    assert not unknown, f"give {unknown} a place in LAYERS"
    assert {"types", "registry", "space", *ZOOS} <= parts


def test_nothing_imports_upwards_and_zoos_never_meet():
    assert upward(all_imports()) == []


def test_parts_of_one_layer_do_not_import_one_another_in_a_circle():
    below: dict[str, set[str]] = {}
    for importer, module, _ in all_imports():
        here, there = part(importer), part(module)
        if here is not None and there is not None and here != there:
            below.setdefault(here, set()).add(there)
    assert tuple(TopologicalSorter(below).static_order())


def test_a_plugin_imports_the_library_below_the_command_line():
    for path in python_files("plugins"):
        found = imports(ast.parse(path.read_text(encoding="utf-8")), module_name(path))
        assert [i for i in found if is_under(i.module, "persona_rm.cli", "persona_rm.pipeline", "tests")] == [], path


@pytest.mark.parametrize(
    ("importer", "module"),
    [("space.load", "methods.base"), ("methods.pba", "inferrers.vote"), ("types", "registry"), ("report.html", "cli")],
)
def test_the_check_itself_finds_a_breach(importer, module):
    assert upward([Import(f"persona_rm.{importer}", f"persona_rm.{module}", True)])
    assert not upward([Import(f"persona_rm.{module}", "persona_rm.errors", True)])


def test_imports_inside_functions_are_seen_and_told_apart():
    code = "import a\ndef f():\n    from ..space import x\nclass C:\n    import b\nfrom persona_rm import errors\n"
    found = set(imports(ast.parse(code), "persona_rm.methods.pba"))
    assert {(i.module, i.top) for i in found} == {
        ("a", True),
        ("persona_rm.space", False),
        ("b", True),
        ("persona_rm.errors", True),
    }


def test_model_packages_are_imported_inside_functions_of_methods_annotators_and_backends():
    allowed = ("persona_rm.methods", "persona_rm.backends")
    bad = [i for i in all_imports() if is_under(i.module, *MODELS) and (i.top or not is_under(i.importer, *allowed))]
    assert bad == []


def test_ray_only_in_serving_and_the_construction_job():
    bad = [i for i in all_imports() if is_under(i.module, "ray") and not is_under(i.importer, *RAY_AT)]
    assert bad == []


def test_no_host_package_and_no_plugin_in_the_library():
    found = [i for i in all_imports() if is_under(i.module, *HOST_PACKAGES, "plugins")]
    assert [i for i in found if not may_name_host(i)] == []


def hosts_named(path: Path) -> list[str]:
    """The lines of a file that name a host although this is not its place."""
    inside = path.relative_to(PACKAGE).as_posix()
    lines = path.read_text(encoding="utf-8").splitlines()
    named = [
        (number, match.group().lower())
        for number, line in enumerate(lines, 1)
        for match in NAMES_A_HOST.finditer(line)
    ]
    if inside.startswith(TABLES):
        return []
    return [f"{inside}:{number}: {name}" for number, name in named if not inside.startswith(f"hosts/{name}/")]


def test_only_the_package_of_a_host_names_it():
    texts = [p for p in PACKAGE.rglob("*") if p.suffix in {".py", ".yaml", ".css"} and "_plugins" not in p.parts]
    assert [line for path in texts for line in hosts_named(path)] == []


@pytest.mark.parametrize(
    ("place", "text", "count"),
    [
        ("serving/client.py", "# as OpenRLHF does\nx = 1  # openrlhf_version\n", 2),
        ("recipe.py", '"""A trainer such as TRL or veRL; vLLM is an engine, and control is a word."""\n', 2),
        ("hosts/common/env.py", "where('openrlhf')\n", 1),
        ("hosts/trl/host.py", "# unlike openrlhf\n", 1),
        ("hosts/openrlhf/host.py", "# OpenRLHF 0.11.2\n", 0),
        ("cli/about.py", "# openrlhf\n", 0),
    ],
)
def test_the_search_for_names_of_hosts(tmp_path, monkeypatch, place, text, count):
    monkeypatch.setattr("tests.test_layers.PACKAGE", tmp_path)
    (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / place).write_text(text)
    assert len(hosts_named(tmp_path / place)) == count


def may_name_host(found: Import) -> bool:
    """vLLM is an engine as well as a host's part: backends ask it, inside functions."""
    return is_under(found.module, "vllm") and is_under(found.importer, "persona_rm.backends") and not found.top


@pytest.mark.parametrize(
    ("importer", "module", "top"),
    [("backends.vllm_engine", "vllm", True), ("annotators.llm", "vllm", False), ("backends.x", "openrlhf", False)],
)
def test_no_other_host_and_no_other_place(importer, module, top):
    assert not may_name_host(Import(f"persona_rm.{importer}", module, top))
    assert may_name_host(Import("persona_rm.backends.vllm_engine", "vllm.sampling_params", False))


def test_a_plugin_names_only_its_own_host():
    bad = []
    for path in python_files("plugins"):
        own = path.relative_to(ROOT / "plugins").parts[0]
        found = imports(ast.parse(path.read_text(encoding="utf-8")), module_name(path))
        others = [host for host in TRAINERS if host != own]
        bad += [i for i in found if is_under(i.module, *others)]
    assert bad == []


def test_importing_every_layer_below_the_job_loads_no_heavy_package():
    light = [
        "persona_rm",
        *(f"persona_rm.{zoo}" for zoo in ZOOS),
        "persona_rm.space",
        "persona_rm.benchmarks.evaluation",
    ]
    light += [m for m in ("persona_rm.recipe", "persona_rm.report", "persona_rm.cli") if _exists(m)]
    code = f"import sys\nfor m in {light}: __import__(m)\nprint([m for m in {HEAVY} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def _exists(module: str) -> bool:
    path = PACKAGE.joinpath(*module.split(".")[1:])
    return path.is_dir() or path.with_suffix(".py").is_file()
