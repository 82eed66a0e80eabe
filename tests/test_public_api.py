"""What users import: every public name, a cheap `import persona_rm`, and an error that names a missing extra."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import persona_rm
from persona_rm.extras import EXTRA_OF

ROOT = Path(__file__).parents[1]
HEAVY = ("numpy", "pydantic", "pyarrow", "ray", "torch", "transformers", "vllm", "yaml")
WALK = """
import importlib, pkgutil, sys

for name in {blocked!r}:
    sys.modules[name] = None  # as if it were not installed
import persona_rm
from persona_rm.errors import MissingExtra

for module in pkgutil.walk_packages(persona_rm.__path__, "persona_rm.", onerror=lambda name: None):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except MissingExtra as error:
        print(module.name, "|", error)
"""


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", persona_rm.__all__)
def test_every_public_name_is_what_its_module_defines(name):
    value = getattr(persona_rm, name)
    module = importlib.import_module(persona_rm._MODULE_OF[name])
    assert value is getattr(module, name)
    assert name in dir(persona_rm)


def test_the_list_the_table_and_the_imports_for_type_checkers_name_the_same():
    assert sorted(persona_rm.__all__) == sorted(persona_rm._MODULE_OF)
    assert len(persona_rm.__all__) == len(set(persona_rm.__all__))
    text = Path(str(persona_rm.__file__)).read_text(encoding="utf-8")
    block = text[text.index("if TYPE_CHECKING:") : text.index("__version__ =")]
    typed = {}
    for module, several, one in re.findall(r"from (\S+) import (?:\(([^)]*)\)|([^(\n]+))", block):
        typed |= dict.fromkeys(re.findall(r"\w+", several or one), module)
    assert typed == persona_rm._MODULE_OF


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'load_bundel'"):
        _ = persona_rm.load_bundel


def test_importing_the_package_loads_nothing_else():
    loaded = run(f"import sys, persona_rm; print([name for name in {HEAVY!r} if name in sys.modules])")
    assert loaded.strip() == "[]"


def test_public_names_load_neither_torch_nor_ray():
    code = "import sys, persona_rm\nfor name in persona_rm.__all__: getattr(persona_rm, name)\n"
    code += "print([name for name in ('torch', 'ray', 'vllm', 'transformers') if name in sys.modules])"
    assert run(code).strip() == "[]"


def test_without_optional_packages_every_module_imports_or_names_the_extra():
    """A bare installation has numpy, pydantic, YAML, rich, typer and safetensors."""
    lines = run(WALK.format(blocked=sorted(EXTRA_OF))).splitlines()
    for line in lines:
        assert re.search(r"pip install persona_rm\[\w+\]$", line), line
    refused = {line.partition(" ")[0] for line in lines}
    assert "persona_rm.construct.job" in refused
    assert "persona_rm.serving.http" in refused
    public = {module for module in persona_rm._MODULES if module != "persona_rm.recipe"}
    assert not public & refused, "the public interface needs no optional package"


def told_without(blocked: list[str], code: str) -> str:
    """The error that the code prints in a process of its own, in which these packages are not installed."""
    lines = [f"import sys\nsys.modules.update(dict.fromkeys({blocked!r}))", "try:"]
    lines += [f"    {line}" for line in code.splitlines()]
    return run("\n".join([*lines, "except Exception as error:\n    print(type(error).__name__, error)"])).strip()


REQUIRE = "from persona_rm.extras import extra_needed, require\n"
LOGPROB = "from persona_rm.backends.logprob import transformers_logprob\ntransformers_logprob._transformers()"


@pytest.mark.parametrize(
    ("blocked", "code", "says"),
    [
        (["pyarrow"], REQUIRE + "require('reading', 'json', 'pyarrow')", "reading needs pyarrow|data"),
        (
            ["pyarrow.parquet"],
            REQUIRE + "with extra_needed('x', 'profiles'):\n    import pyarrow.parquet",
            "x needs pyarrow|profiles",
        ),
        (["torch"], LOGPROB, "the log-prob backend needs torch|train"),
        (["transformers"], LOGPROB, "the log-prob backend needs transformers|train"),
        (
            ["ray"],
            "from persona_rm.cluster.ray_start import ray_address\nray_address()",
            "a Ray cluster needs ray|train",
        ),
        (
            ["ray"],
            "from persona_rm.serving.client import RayTransport\nRayTransport().inference()",
            "asking reward actors needs ray|train",
        ),
    ],
)
def test_a_missing_package_is_named_with_its_extra(blocked, code, says):
    who, _, extra = says.partition("|")
    said = f"MissingExtra {who}, which is not installed: pip install persona_rm[{extra}]"
    assert told_without(blocked, code) == said


def test_a_missing_package_of_no_extra_passes_through():
    said = told_without([], REQUIRE + "require('reading', 'no_such_package', extra='data')")
    assert said == "ModuleNotFoundError No module named 'no_such_package'"
