"""P-SOUPS as AlignX published it (Jang et al. 2023; AlignX paper, section 6): pairs ordered by two opposed personas.

Two things a reader of its accuracy must know, and that this benchmark keeps visible. The chosen answer has more
words in 72.8 % of the rows and as many in another 16 %, so `longer_wins` stands beside every figure. There are two
personas and 22 history pairs, so users cannot be resampled: the bootstrap draws prompts instead (`Case.cluster`).
"""

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from pydantic import Field

from persona_rm.benchmarks.base import Benchmark, Case
from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.types import Example, Pair, Persona, content_id

HISTORY = "Pair-wise Comparative Feedback"
LABELS = {
    "Generate a response that is friendly, witty, funny, and humorous, like a close friend.": "friendly",
    "Generate a response in an unfriendly manner.": "unfriendly",
}


class PSoupsConfig(Config):
    """Where the file is (JSON array, gzip or plain), and how many rows to use (None: all; else evenly spread)."""

    path: Path
    limit: int | None = Field(None, ge=1)


class PSoups(Benchmark):
    """persona = the history pairs; `persona.directions` = what the publishers' annotator inferred, not truth."""

    name = "psoups"
    Config = PSoupsConfig

    def cases(self) -> list[Case]:
        """One case per row. Raises `DataError` by file, row and key."""
        rows = list(enumerate(read_array(self.config.path), 1))
        limit = min(self.config.limit or len(rows), len(rows))
        return [self._case(*rows[k * len(rows) // limit]) for k in range(limit)]

    def _case(self, i: int, row: Any) -> Case:
        def text(source: Any, key: str, where: str = "") -> str:
            value = source.get(key) if isinstance(source, dict) else None
            if not isinstance(value, str) or not value:
                raise DataError(f"expected text, found {value!r}", file=self.config.path, row=i, key=where + key)
            return value

        persona_text, prompt = text(row, "ground_truth_persona"), text(row, "prompt")
        persona = Persona(label(persona_text), pairs=self._history(row, i, text), directions=self._profile(row, i))
        chosen, rejected = text(row, "chosen"), text(row, "rejected")
        ident = content_id("psoups", str(i), prompt, chosen, rejected)
        neutral = self.space.neutral
        example = Example(ident, prompt, chosen, rejected, neutral, persona, self.name, content_id(prompt))
        return Case(example, group_label=persona.user_id, cluster=content_id(prompt))

    def _history(self, row: dict[str, Any], i: int, text: Any) -> tuple[Pair, ...]:
        items = row.get(HISTORY)
        if not isinstance(items, list) or not items:
            raise DataError(f"expected a list of pairs, found {items!r}", file=self.config.path, row=i, key=HISTORY)
        keys = ("prompt", "chosen", "rejected")
        return tuple(Pair(*(text(item, key, f"{HISTORY}[{n}].") for key in keys)) for n, item in enumerate(items))

    def _profile(self, row: dict[str, Any], i: int) -> tuple[int, ...]:
        profile = row.get("profile")
        if not isinstance(profile, str):
            raise DataError(f"expected text, found {profile!r}", file=self.config.path, row=i, key="profile")
        try:
            return self.space.parse(profile)
        except DataError as error:
            raise DataError(error.problem, file=self.config.path, row=i, key="profile") from error


def label(persona_text: str) -> str:
    """The short name of a published persona; other texts name themselves."""
    return LABELS.get(persona_text, persona_text)


def read_array(path: Path) -> list[Any]:
    """A JSON array from a plain or gzip file. Raises `DataError` where it is missing, cut, not UTF-8 or no array."""
    try:
        raw = path.read_bytes()
        rows = json.loads((gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw).decode("utf-8"))
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise DataError(f"expected a JSON array (plain or gzip), found: {error}", file=path) from error
    if not isinstance(rows, list) or not rows:
        raise DataError(f"expected a JSON array with rows, found {type(rows).__name__}", file=path)
    return rows
