"""Checks OpenRLHF's version: on another release a patch can miss its function without an error."""

from importlib.metadata import PackageNotFoundError, version
from types import ModuleType

SUPPORTED = ("0.11.2",)


def check(_module: ModuleType) -> None:
    """Runs when `openrlhf` is imported. Raises `ImportError` for a version that the patches were not made for."""
    try:
        installed = version("openrlhf")
    except PackageNotFoundError:
        installed = "unknown (imported from a source tree without metadata)"
    if installed not in SUPPORTED:
        raise ImportError(
            f"the CPU rehearsal patches functions of openrlhf {', '.join(SUPPORTED)}; found {installed}. On another "
            "version a patch can miss, and training then goes on with wrong weights and exit code 0. "
            f"Do: pip install --no-deps openrlhf=={SUPPORTED[-1]}, or leave the rehearsal folder off PYTHONPATH."
        )
