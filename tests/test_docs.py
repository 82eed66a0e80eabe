"""The README and CONTRIBUTING are run: every example in a fenced block, every path, make target and verb they name.

A comment before a block says what the block is:

    <!-- file: NAME -->          the block is the content of a file; later blocks of its section use it
    <!-- checked as: NAME -->    YAML that is not a file of its own: it is checked as a part of `CHECKED_AS`
    <!-- not run: REASON -->     the block is not executed; paths, targets and verbs in it are checked all the same
    <!-- layers -->              the layers of tests/test_layers.py, word for word
    <!-- seconds: N -->          the block takes long: its section is a slow test

The blocks of one section (a heading of level 2) run in order, in one temporary folder, after all files of the section
were written.
"""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from persona_rm.bundle.bundle_file import BundleFile
from tests.source import ROOT
from tests.test_layers import LAYERS

DOCUMENTS = ("README.md", "CONTRIBUTING.md")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)
COMMENT = re.compile(r"<!--\s*([a-z ]+?)(?::\s*((?:(?!-->).)+?))?\s*-->\s*\Z", re.S)
RUN = ("bash", "python")
"""Languages of blocks that are executed. `yaml` and `python` can be files; `text` is a picture and has a comment."""
CHECKED_AS: dict[str, Callable[[Any], object]] = {
    "bundle": lambda keys: BundleFile(**{"method": "pba_linear", "annotator": "simulator", **keys}),
}
MOST_FILES, MOST_RECORDS = 6, 4


@dataclass(frozen=True)
class Block:
    """A fenced block, the heading of its section, and the comment before it as (word, text)."""

    document: str
    line: int
    section: str
    language: str
    text: str
    word: str = ""
    note: str = ""

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"


@dataclass
class Section:
    """The blocks of one section that are files, and those that are run, in order."""

    name: str
    files: list[Block] = field(default_factory=list)
    run: list[Block] = field(default_factory=list)
    slow: bool = False


def blocks(document: str, text: str) -> list[Block]:
    """The fenced blocks of a Markdown document, in order."""
    found = []
    for match in FENCE.finditer(text):
        before = text[: match.start()]
        headings = re.findall(r"^## (.+)$", FENCE.sub("", before), re.M)
        comment = COMMENT.search(before)
        word, note = comment.groups(default="") if comment else ("", "")
        line = before.count("\n") + 1
        section = headings[-1] if headings else "start"
        found.append(Block(document, line, section, match[1], match[2], word, note))
    return found


def read(document: str) -> str:
    return (ROOT / document).read_text(encoding="utf-8")


BLOCKS = [block for document in DOCUMENTS for block in blocks(document, read(document))]


def sections(of: list[Block]) -> list[Section]:
    """The sections that have something to run."""
    by_name: dict[str, Section] = {}
    for block in of:
        section = by_name.setdefault(f"{block.document}: {block.section}", Section(block.section))
        if block.word == "file":
            section.files.append(block)
        elif block.language in RUN and block.word in ("", "seconds"):
            section.run.append(block)
        section.slow |= block.word == "seconds"
    return [section for section in by_name.values() if section.run]


def command_folder(folder: Path) -> Path:
    """A folder with the commands `persona-rm` and `python` of this interpreter and this checkout."""
    folder.mkdir()
    for name, arguments in (("persona-rm", "-m persona_rm.cli "), ("python", "")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n', encoding="utf-8")
        script.chmod(0o755)
    return folder


def execute(block: Block, folder: Path, commands: Path) -> str:
    """The output of a block. Fails with the output if the block does."""
    env = {**os.environ, "PATH": f"{commands}{os.pathsep}{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    argv = (
        [sys.executable, "-c", block.text]
        if block.language == "python"
        else ["bash", "-euo", "pipefail", "-c", block.text]
    )
    done = subprocess.run(argv, cwd=folder, env=env, capture_output=True, text=True, check=False, timeout=600)
    assert done.returncode == 0, f"{block.place} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


def marked(section: Section) -> Any:
    return pytest.param(section, id=section.name, marks=[pytest.mark.slow] if section.slow else [])


@pytest.mark.parametrize("section", [marked(section) for section in sections(BLOCKS)])
def test_the_examples_of_a_section_run(section: Section, tmp_path: Path) -> None:
    folder, commands = tmp_path / "work", command_folder(tmp_path / "bin")
    folder.mkdir()
    for block in section.files:
        path = folder / block.note
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text, encoding="utf-8")
    for block in section.run:
        execute(block, folder, commands)


def test_the_example_on_the_first_screen_of_the_readme_has_ten_lines_and_tells_users_apart(tmp_path: Path) -> None:
    example = next(block for block in BLOCKS if block.document == "README.md" and block.language == "python")
    assert example.line < 50, "the Python example belongs on the first screen"
    assert len(example.text.splitlines()) <= 10
    rows = [line.split("|") for line in execute(example, tmp_path, command_folder(tmp_path / "bin")).splitlines()]
    rewards = {(user.strip(), response.strip()): float(reward) for user, response, reward, _ in rows}
    users, responses = ({key[i] for key in rewards} for i in (0, 1))
    assert (len(users), len(responses)) == (2, 2)
    ann, bob = ({response: rewards[user, response] for response in responses} for user in sorted(users))
    assert max(ann, key=ann.__getitem__) != max(bob, key=bob.__getitem__)


def test_a_block_that_is_not_run_says_why() -> None:
    allowed = {"file", "checked as", "not run", "layers", "seconds", ""}
    assert [f"{block.place}: {block.word}" for block in BLOCKS if block.word not in allowed] == []
    silent = [block.place for block in BLOCKS if block.word not in ("", "layers") and not block.note]
    assert silent == []
    others = [block.place for block in BLOCKS if block.language not in RUN and not block.word]
    assert others == [], "say what the block is in a comment before it"


@pytest.mark.parametrize("block", [b for b in BLOCKS if b.word == "checked as"], ids=lambda b: b.place)
def test_a_piece_of_yaml_has_keys_that_exist(block: Block) -> None:
    assert CHECKED_AS[block.note](yaml.safe_load(block.text))


def test_the_layers_of_contributing_are_those_that_the_test_holds() -> None:
    (block,) = [block for block in BLOCKS if block.word == "layers"]
    lines = [", ".join(names) for names in LAYERS]
    assert block.text.splitlines() == lines, "copy LAYERS of tests/test_layers.py, one layer per line, lowest first"


def test_the_path_of_a_reward_has_six_files_and_four_records() -> None:
    """Each step of the path names a file and a function or class that stands in it."""
    text = read("CONTRIBUTING.md").partition("## The path of one reward")[2].partition("\n## ")[0]
    steps = re.findall(r"^\d+\. `([\w/<>.]+)`, `([\w.]+)`", text, re.M)
    files = [path.replace("<name>", "pba_linear") for path, _ in steps]
    assert 0 < len(files) <= MOST_FILES
    for path, (_, name) in zip(files, steps, strict=True):
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        defined = {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef))
        }
        assert set(name.split(".")) <= defined, f"{path} defines no {name}"
    records = set(re.findall(r"`(Reward\w+|User\w+)`", text)) & record_types()
    assert records == {"RewardRequest", "UserState", "RewardResult", "RewardTrace"}
    assert len(records) <= MOST_RECORDS


def record_types() -> set[str]:
    tree = ast.parse((ROOT / "persona_rm" / "types.py").read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_path_that_is_named_exists(document: str) -> None:
    """A path has a suffix or a slash at its end; `persona_rm/cold` and `persona_rm/postprocess/*` are keys of logs."""
    names = set(
        re.findall(r"\b(?:persona_rm|recipes|tests|plugins)/(?:[\w.-]+/)*(?!\*)(?:[\w-]+\.\w+)?", read(document))
    )
    assert names
    assert [name for name in sorted(names) if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_make_target_and_verb_that_is_named_exists(document: str) -> None:
    text = read(document)
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))
    assert set(re.findall(r"\bmake ([a-z]+(?:-[a-z]+)*)\b(?= |`|$|\n)", code_of(text))) <= targets
    from persona_rm.cli import app

    verbs = {command.name or command.callback.__name__ for command in app.registered_commands if command.callback}
    assert set(re.findall(r"persona-rm ([a-z]+)\b", code_of(text))) <= verbs


def code_of(text: str) -> str:
    """Fenced blocks and inline code."""
    fenced = [match[2] for match in FENCE.finditer(text)]
    return "\n".join([*fenced, *re.findall(r"`([^`\n]+)`", FENCE.sub("", text))])


@pytest.mark.parametrize("document", DOCUMENTS)
def test_recipes_and_overrides_of_commands_are_accepted(document: str) -> None:
    """`persona-rm run recipes/x.yaml a.b=c` in any block: the recipe is read with these overrides."""
    from persona_rm.recipe import load_recipe

    lines = "\n".join(block.text for block in BLOCKS if block.document == document and block.language == "bash")
    for line in lines.replace("\\\n", " ").splitlines():
        for match in re.finditer(r"persona-rm \w+ (recipes/[\w/]+\.yaml)((?: [\w.]+=[^\s;&|#]+)*)", line):
            load_recipe(ROOT / match[1], match[2].split())


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted((ROOT / "tests" / "perf").glob("*.py")), ids=lambda path: path.stem)
def test_a_script_of_tests_perf_starts(script: Path) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script), "--help"], env=env, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr


def test_a_block_and_its_comment_are_found() -> None:
    text = "# A\n## B\n<!-- file: x.yaml -->\n```yaml\na: 1\n```\n\n```bash\nls\n```\n"
    text += "## C\n<!-- not run: slow -->\n```bash\nrm\n```\n"
    first, second, third = blocks("A.md", text)
    assert (first.section, first.language, first.word, first.note) == ("B", "yaml", "file", "x.yaml")
    assert (second.word, second.text) == ("", "ls\n")
    assert (third.section, third.word, third.note, third.line) == ("C", "not run", "slow", 13)
