"""Limits of size, and nothing in a tracked file that ties it to one machine."""

import re
import statistics

import pytest

from tests.source import CODE, ROOT, functions, python_files

MAX_FUNCTION, MAX_FILE, MEDIAN = 60, 350, 10
SUFFIXES = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".sh", ".json", ".jinja", ".cfg"}
TEXTS = ("persona_rm", "plugins", "recipes", "tests", "docs", ".ci")
MACHINE = re.compile(r"(?<![\w.])/(?:" + "|".join(("work", "root", r"home/\w+", "Users")) + r")/")
STUBS = re.compile("|".join(("TO" + "DO", "FIX" + "ME", "NotImplemented" + "Error")))
PICKLE = re.compile(r"^\s*(?:import|from) (?:c?pickle|dill|cloudpickle|joblib)\b", re.M)


def text_files():
    inside = [p for folder in TEXTS for p in (ROOT / folder).rglob("*")]
    every = [*inside, *ROOT.glob("*")]
    return [p for p in every if p.is_file() and (p.suffix in SUFFIXES or p.name in {"Makefile", "run"})]


def test_no_function_is_longer_than_a_screen():
    long = [f for path in python_files(*CODE) for f in functions(path) if f.lines > MAX_FUNCTION]
    assert long == []


def test_functions_of_the_library_are_short_in_the_median():
    lines = [f.lines for path in python_files("persona_rm") for f in functions(path)]
    assert len(lines) > 50
    assert statistics.median(lines) <= MEDIAN


def test_no_file_is_longer_than_the_limit():
    count = {str(p.relative_to(ROOT)): len(p.read_text(encoding="utf-8").splitlines()) for p in python_files(*CODE)}
    assert {path: n for path, n in count.items() if n > MAX_FILE} == {}


@pytest.mark.parametrize("pattern", [MACHINE, STUBS, PICKLE], ids=["machine path", "stub", "pickle"])
def test_no_file_carries(pattern):
    bad = []
    for path in text_files():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if pattern.search(line):
                bad.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert bad == []


@pytest.mark.parametrize("line", ["open('/" + "work/main/x')", '"/' + 'root/.cache"'])
def test_the_path_check_finds_a_machine_path(line):
    assert MACHINE.search(line)
    assert not MACHINE.search("https://example.org/work/shop and ../shared/work/x")
