"""Keys and tokens by which programs sign in to services: patterns in keys.yaml, with their sources."""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from persona_rm.io.yaml_file import read_yaml

FILE = Path(__file__).with_name("keys.yaml")


class KeyKind(NamedTuple):
    """How the keys of a service begin, in small letters, and their pattern as they are written."""

    starts: tuple[str, ...]
    pattern: re.Pattern[str]


@cache
def _kinds() -> tuple[KeyKind, ...]:
    return tuple(KeyKind(tuple(row["start"]), re.compile(row["pattern"])) for row in read_yaml(FILE))


@cache
def starts() -> tuple[str, ...]:
    """How keys begin, in small letters."""
    return tuple(start for kind in _kinds() for start in kind.starts)


def start_pattern() -> str:
    """A pattern of the beginnings, where a word begins."""
    # The longest first, so that "github_pat_" is not cut short by another.
    return rf"(?<![a-z0-9])(?:{'|'.join(re.escape(start) for start in sorted(starts(), key=len, reverse=True))})"


def key_end(written: str, start: int) -> int | None:
    """Where the key that begins at `start` ends; None if there is none."""
    head = written[start : start + 20].lower()
    for kind in _kinds():
        match = kind.pattern.match(written, start) if head.startswith(kind.starts) else None
        if match:
            return match.end()
    return None
