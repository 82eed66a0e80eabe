"""LLMFAO (Ustalov 2023): which of two real answers of language models each of 124 people prefers, under 13 prompts.

Ties, two of five judgments, are left out. There are 13 prompts only, so whole prompts are held out: a method that
remembers which system answers well would look personal. Of 56 people with comparisons on both sides five, whom a
pooled reward mispredicts, made the whole gain of a personal one: report it without them too.
"""

from functools import cached_property
from pathlib import Path
from typing import ClassVar

from persona_rm.benchmarks.judged import JudgedBenchmark, JudgedConfig
from persona_rm.config import Config
from persona_rm.io.json_rows import read_rows
from persona_rm.types import Comparison


class LlmfaoConfig(JudgedConfig):
    """The file: JSON lines with `user`, `prompt_id`, `prompt`, `a`, `b` and `choice` (a, b or tie)."""

    path: Path


class Llmfao(JudgedBenchmark):
    """The group is the prompt."""

    name: ClassVar[str] = "llmfao"
    Config: ClassVar[type[Config]] = LlmfaoConfig

    def comparisons(self) -> list[Comparison]:
        """Every judgment with a preference. Raises `DataError` with file, row and key."""
        return self._read

    @cached_property
    def _read(self) -> list[Comparison]:
        rows = []
        for row in read_rows(self.config.path):
            user, prompt, choice = row.text("user"), row.text("prompt"), row.text("choice")
            # An answer may be empty: a model said nothing, and people judged that too.
            a, b = row.required("a", str), row.required("b", str)
            if choice not in ("a", "b", "tie"):
                raise row.error(f"must be a, b or tie, found {choice!r}"[:200], "choice")
            if choice != "tie" and a != b:
                sides = (a, b) if choice == "a" else (b, a)
                rows.append(Comparison(user, prompt, *sides, row.text("prompt_id")))
        return rows
