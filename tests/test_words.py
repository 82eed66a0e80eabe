"""The vocabulary: words that readers of RLHF code do not search for stay out of documents, docstrings and messages."""

import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.source import ROOT, python_files

BANNED = {
    r"somebody|nobody|everybody|whoever|strangers?": "user, unknown user, population prior",
    r"hygiene": "reward post-processing",
    r"shun(?:s|ned|ning)?": "cooldown",
    r"toys?|embedded worlds?": "simulator, simulated users",
    r"HTTP face|doors?|meters?|refusals?": "HTTP API, routes, metrics, errors",
    r"crowds?|patience": "queue, batch, worker, timeout",
    r"Raises (?:`\w+`|\w+),? where": "Raises X if ...",
}
"""What must not be written, and what to write."""
PATTERN = re.compile("|".join(rf"\b(?:{pattern})\b" for pattern in BANNED), re.IGNORECASE)
DOCUMENTS = ("README.md", "CONTRIBUTING.md")
TEXT_TOKENS = {tokenize.COMMENT, tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}


class Text(NamedTuple):
    where: str
    line: int
    text: str


def texts_of_python(path: Path) -> Iterator[Text]:
    """Comments, docstrings and other strings that have a space: names and keys are no texts."""
    where = path.relative_to(ROOT).as_posix()
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        if token.type in TEXT_TOKENS and " " in token.string:
            yield from lines_of(where, token.start[0], token.string)


def lines_of(where: str, first: int, text: str) -> Iterator[Text]:
    """The lines of a text, each joined with the next one if that only goes on: "Raises X" may end a line."""
    lines = text.splitlines()
    for offset, line in enumerate(lines):
        follows = lines[offset + 1].strip() if line.rstrip().endswith(("Raises", "`")) and lines[offset + 1 :] else ""
        yield Text(where, first + offset, f"{line} {follows}".strip())


def texts() -> Iterator[Text]:
    for path in python_files(
        "persona_rm",
    ):
        yield from texts_of_python(path)
    for path in sorted((ROOT / "recipes").rglob("*.yaml")):
        where = path.relative_to(ROOT).as_posix()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if "#" in line:
                yield Text(where, number, line.partition("#")[2])
    for name in DOCUMENTS:
        yield from lines_of(name, 1, (ROOT / name).read_text(encoding="utf-8"))
    for number, line in enumerate((ROOT / "CHANGELOG.md").read_text(encoding="utf-8").splitlines(), 1):
        if line.startswith("#"):
            yield Text("CHANGELOG.md", number, line)


def findings() -> list[str]:
    return [f"{text.where}:{text.line}: {match[0]}" for text in texts() for match in PATTERN.finditer(text.text)]


def test_documents_docstrings_and_messages_use_the_vocabulary():
    assert findings() == [], f"write instead: {BANNED}"


@pytest.mark.parametrize(
    "text",
    [
        "Nobody, and a stranger, get the prior.",
        "Raises `DataError` where the file is broken.",
        "Raises DataError where it is",
        "on the embedded world",
        "the HTTP face",
    ],
)
def test_the_check_finds(text):
    assert PATTERN.search(text)


@pytest.mark.parametrize(
    "text",
    ["parameters of a model", "indoors", "Raises `DataError` if it is broken, where that can be told", "history"],
)
def test_the_check_leaves_alone(text):
    assert not PATTERN.search(text)


def test_a_sentence_over_two_lines_is_read_as_one():
    lines = list(lines_of("x.py", 4, '"""Read it. Raises\n    `DataError` where it is broken."""'))
    assert [line.line for line in lines if PATTERN.search(line.text)] == [4]
    assert not any(PATTERN.search(line.text) for line in lines_of("x.py", 1, "Raises `DataError`\n"))
