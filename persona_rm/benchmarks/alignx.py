"""A file in the AlignX format as a benchmark: a published test set, or examples that construction built."""

from dataclasses import replace
from pathlib import Path

from pydantic import Field

from persona_rm.benchmarks.base import Benchmark, Case, spread
from persona_rm.config import Config
from persona_rm.io.alignx_format import read_examples
from persona_rm.types import Example


class AlignXConfig(Config):
    """The file (JSON, JSON lines, Parquet, folder of Parquet, `data/test-*.parquet`), and the number of rows to use.

    None uses all rows; a number takes that many, spread evenly.
    """

    path: Path
    limit: int | None = Field(None, ge=1)


class AlignX(Benchmark):
    """Golden directions are those of the pair, as in the paper (Table 2: 71.10 -> 91.36 with them).

    Groups are the `source` of the rows, if the file names one.
    """

    name = "alignx"
    Config = AlignXConfig

    def cases(self) -> list[Case]:
        """One case per row. Raises `DataError` by file, row and key."""
        examples = read_examples(self.config.path, self.space)
        return spread([Case(golden(example), example.source) for example in examples], self.config.limit)


def golden(example: Example) -> Example:
    """The example with the directions of its pair as the user's, unless the file gives the user's own."""
    if example.persona.directions is not None or not example.directions:
        return example
    return replace(example, persona=example.persona.with_directions(example.directions))
