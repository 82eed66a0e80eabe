"""The contract of a universal-value set: ratings by value -> pairs that one dimension of the space tells apart.

In AlignX such an example is neutral in every dimension but one (paper, Table 1).
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

from pydantic import NonNegativeInt

from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.io.json_rows import JsonRow
from persona_rm.io.marks import is_removed, says_nothing
from persona_rm.sources.base import OnBad
from persona_rm.sources.inputs import JSON, FilesConfig, files_fingerprint, find_files, read_files
from persona_rm.sources.universal.turns import has_turns, rendered
from persona_rm.types import content_id


@dataclass(frozen=True, slots=True)
class ValuePair:
    """Choosing `chosen` over `rejected` shows `direction` (1 or -1) on `dimension`, an id of the space alignx90."""

    id: str
    source: str
    prompt: str
    chosen: str
    rejected: str
    dimension: str
    direction: int = 1


class Value(NamedTuple):
    """What a rating stands for: more of it is `direction` on `dimension`."""

    dimension: str
    direction: int = 1


class UniversalConfig(FilesConfig):
    """`path` (also Parquet), `limit` (of pairs), `licence` as in file sources; `min_gap`: least rating difference."""

    min_gap: NonNegativeInt = 1


class UniversalSource(ABC):
    """One published set. Constructors store; files are opened by `pairs`."""

    name: ClassVar[str]
    Config: ClassVar[type[Config]] = UniversalConfig
    patterns: ClassVar[tuple[str, ...]] = (*JSON, "*.parquet")

    def __init__(self, config: Any) -> None:
        self.config = config
        self.skipped: Counter[str] = Counter()
        """Of the last `pairs`: how often a rating gave no pair, by `<dimension>: <reason>`."""
        self.rendered = 0
        """Of the last `pairs`: rows whose prompt has several turns, which were written out as a text."""

    def pairs(self, on_bad: OnBad) -> Iterator[ValuePair]:
        """Every pair, in the order of the files. Raises before the first if there is no file.

        A row that is not as published, and a pair that comes twice, goes to `on_bad` with file, row and key.
        """
        self.skipped.clear()
        self.rendered = 0
        # The files are found before the generator starts, so that a missing one raises at once.
        return islice(self._unique(read_files(self.files(), on_bad), on_bad), self.config.limit)

    def _unique(self, rows: Iterator[JsonRow], on_bad: OnBad) -> Iterator[ValuePair]:
        seen: set[str] = set()
        for row, pair in self._pairs(rows, on_bad):
            if pair.id in seen:
                on_bad(row.error(f"this pair was read before (dimension {pair.dimension}, id {pair.id})", "prompt"))
            else:
                seen.add(pair.id)
                yield pair

    @abstractmethod
    def _pairs(self, rows: Iterable[JsonRow], on_bad: OnBad) -> Iterator[tuple[JsonRow, ValuePair]]:
        """Each pair with a row that it came from."""

    def contrast(self, prompt: str, value: Value, rated: Sequence[tuple[int, str]]) -> list[ValuePair]:
        """The pair of the highest and the lowest rating (the first of equals), or none, counted in `skipped`.

        A rated text that is empty is counted and left out.
        """
        whole = [(rating, text) for rating, text in rated if not _is_empty(text)]
        self.skipped += Counter({f"{value.dimension}: empty text": len(rated) - len(whole)})
        rated = whole
        if len(rated) < 2:
            return self.skip(value, "fewer than two ratings")
        (high, chosen), (low, rejected) = max(rated, key=_rating), min(rated, key=_rating)
        if high == low:
            return self.skip(value, "tie")
        if high - low < self.config.min_gap:
            return self.skip(value, "smaller difference than min_gap")
        return self.pair(prompt, value, chosen, rejected)

    def prompt(self, row: JsonRow, key: str) -> str:
        """The prompt at `key`, with its turns written out. Raises `DataError` as `turns.rendered`."""
        text = rendered(row, key)
        self.rendered += has_turns(row.text(key))
        return text

    def pair(self, prompt: str, value: Value, chosen: str, rejected: str) -> list[ValuePair]:
        """The pair, or none, counted, if a text is empty or both responses are the same."""
        if any(map(_is_empty, (prompt, chosen, rejected))):
            return self.skip(value, "empty text")
        if has_turns(chosen) or has_turns(rejected):
            return self.skip(value, "a response with marks of turns")
        if chosen.strip() == rejected.strip():
            return self.skip(value, "same text")
        id_ = content_id(self.name, value.dimension, prompt, chosen, rejected)
        return [ValuePair(id_, self.name, prompt, chosen, rejected, value.dimension, value.direction)]

    def skip(self, value: Value, reason: str) -> list[ValuePair]:
        """No pair, counted."""
        self.skipped[f"{value.dimension}: {reason}"] += 1
        return []

    def files(self) -> list[Path]:
        """The files behind `path`. Raises `DataError` if there is none, or none that holds anything."""
        return find_files(self.config.path, self.patterns)

    def fingerprint(self) -> str:
        """The sha256 of the config, and of the name and content of every file."""
        return files_fingerprint(self.config, self.files())


def row_by_row(
    rows: Iterable[JsonRow], read: Callable[[JsonRow], list[ValuePair]], on_bad: OnBad
) -> Iterator[tuple[JsonRow, ValuePair]]:
    """The pairs of rows that stand each for itself."""
    for row in rows:
        try:
            pairs = read(row)
        except DataError as error:
            on_bad(error)
            continue
        yield from ((row, pair) for pair in pairs)


def _rating(rated: tuple[int, str]) -> int:
    return rated[0]


def _is_empty(text: str) -> bool:
    return says_nothing(text) or is_removed(text)
