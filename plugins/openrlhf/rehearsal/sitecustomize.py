"""With this folder on PYTHONPATH, the unmodified OpenRLHF runs on a CPU: the driver, Ray workers and vLLM's processes.

Python imports `sitecustomize` when a process starts. Nothing heavy is imported here: each patch is applied when the
module that it changes is imported (see `cpu_rehearsal/`), so a program that never imports OpenRLHF pays nothing.
Another `sitecustomize` later on the path still runs.
"""

import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

HERE = Path(__file__).resolve().parent


def run_shadowed() -> None:
    """Runs the `sitecustomize` that this one hides, if there is one."""
    rest = [entry for entry in sys.path if Path(entry or ".").resolve() != HERE]
    spec = PathFinder.find_spec("sitecustomize", rest)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(module_from_spec(spec))


if str(HERE) not in sys.path:
    sys.path.insert(0, str(HERE))
from cpu_rehearsal import install  # noqa: E402 - needs the line above when this file is loaded by path

install()
run_shadowed()
