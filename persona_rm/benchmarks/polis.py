"""Polis: people agree or disagree with short statements of one another (The Computational Democracy Project).

People really differ here: other people's mean vote predicts much more than the text does. A person who agrees with
one statement and disagrees with another prefers the first; passes are left out. Statements are dealt to `buckets` by a
hash of their text, pairs are made inside a bucket, and the bucket is the group: no split shows a statement on both
sides.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from persona_rm.benchmarks.comparisons import drawn
from persona_rm.benchmarks.judged import JudgedBenchmark, JudgedConfig
from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.io.json_rows import JsonRow, read_rows
from persona_rm.types import Comparison, content_id

VOTES = (-1, 0, 1)


class PolisConfig(JudgedConfig):
    """The file: JSON lines of a `meta` row, then `item`, `text` and `prompt`, then `user`, `item` and `value` (1
    agree, 0 pass, -1 disagree).

    `buckets`: groups of statements; `fewest`: pairs that a person must have to be kept.
    """

    path: Path
    buckets: int = Field(9, ge=2)
    fewest: int = Field(1, ge=1)


class Polis(JudgedBenchmark):
    """The group is a bucket of statements."""

    name: ClassVar[str] = "polis"
    Config: ClassVar[type[Config]] = PolisConfig

    def comparisons(self) -> list[Comparison]:
        """Pairs of an agreed and a disagreed statement: every vote is used at least once if the bucket has votes of
        both kinds. Raises `DataError` with file, row and key."""
        return self._read

    @cached_property
    def _read(self) -> list[Comparison]:
        texts: dict[str, tuple[str, str]] = {}
        votes: dict[str, dict[str, int]] = defaultdict(dict)
        for row in read_rows(self.config.path):
            if "value" in row.data:
                user, item, value = self._vote(row, texts)
                if item in votes[user]:
                    raise row.error("this person voted on this item before; one vote each", "item")
                votes[user][item] = value
            elif "meta" not in row.data:
                texts[row.text("item")] = (row.text("prompt"), row.text("text"))
        if not votes:
            raise DataError("no votes in this file", file=self.config.path)
        every = {user: list(self._pairs(user, votes[user], texts)) for user in sorted(votes)}
        return [pair for pairs in every.values() if len(pairs) >= self.config.fewest for pair in pairs]

    def _vote(self, row: JsonRow, texts: Mapping[str, tuple[str, str]]) -> tuple[str, str, int]:
        user, item, value = row.text("user"), row.text("item"), row.data["value"]
        if isinstance(value, bool) or value not in VOTES:
            raise row.error(f"must be 1, 0 or -1, found {value!r}"[:200], "value")
        if item not in texts:
            raise row.error(f"no item {item!r} before this row"[:200], "item")
        return user, item, int(value)

    def _pairs(
        self, user: str, votes: Mapping[str, int], texts: Mapping[str, tuple[str, str]]
    ) -> Iterator[Comparison]:
        sides: dict[tuple[str, int], list[str]] = defaultdict(list)
        for item in drawn(votes, str, self.config.seed, user):
            sides[self._bucket(texts[item][1]), votes[item]].append(item)
        for bucket in sorted({bucket for bucket, _ in sides}):
            liked, disliked = sides.get((bucket, 1), []), sides.get((bucket, -1), [])
            for i in range(max(len(liked), len(disliked)) if liked and disliked else 0):
                prompt, text = texts[liked[i % len(liked)]]
                other = texts[disliked[i % len(disliked)]][1]
                if text != other:
                    yield Comparison(user, prompt, text, other, bucket)

    def _bucket(self, text: str) -> str:
        return f"bucket {int(content_id(text), 16) % self.config.buckets}"
