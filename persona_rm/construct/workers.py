"""What one worker of construction does with a batch of rows: Arrow in, Arrow out, one outcome per row."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from persona_rm.annotators import ANNOTATORS
from persona_rm.backends.base import Backends
from persona_rm.backends.encoder import MiniLM, MiniLMConfig
from persona_rm.construct import records, steps
from persona_rm.construct.config import ConstructConfig
from persona_rm.construct.progress import tell
from persona_rm.construct.steps import Drop, LabelledPair
from persona_rm.space import PreferenceSpace
from persona_rm.types import Thread

Table = Any
Rows = Callable[[list[dict[str, Any]]], list[tuple[Any, list[Drop]]]]


@dataclass(frozen=True, slots=True)
class AnnotatorSpec:
    """An annotator by name, so that workers build their own; `encoder` is what its MiniLM is made with."""

    name: str
    params: Mapping[str, Any]
    encoder: MiniLMConfig = field(default_factory=MiniLMConfig)


class Map:
    """A pure function of a row, over the rows of an Arrow batch (number, body); `told` hears of every batch."""

    def __init__(self, told: Path, function: Rows) -> None:
        self.told, self.function = told, function

    def __call__(self, batch: Table) -> Table:
        rows = batch.to_pylist()
        outcomes = self.function([records.load(row["body"])[0] or {} for row in rows])
        bodies = [records.dump(record, drops) for record, drops in outcomes]
        tell(self.told, len(rows))
        return table([(row["number"], body) for row, body in zip(rows, bodies, strict=True)])


def table(rows: list[tuple[int, str]]) -> Table:
    """(number, body) rows as Arrow."""
    numbers, bodies = [row[0] for row in rows], [row[1] for row in rows]
    return pa.table({"number": pa.array(numbers, pa.int64()), "body": pa.array(bodies, pa.large_string())})


class Annotate(Map):
    """Annotates threads inside a Ray actor, with its own annotator and encoder."""

    def __init__(self, told: Path, spec: AnnotatorSpec, space: PreferenceSpace, threads: int) -> None:
        super().__init__(told, self.annotate)
        cls = ANNOTATORS.load(spec.name)
        encoder = MiniLM(spec.encoder.model_copy(update={"threads": threads}))
        self.annotator = cls(cls.Config(**spec.params), space, Backends(encoder=encoder))

    def annotate(self, rows: list[dict[str, Any]]) -> list[tuple[Any, list[Drop]]]:
        """The threads with levels, all comments of the batch in one call."""
        threads = [records.thread(row) for row in rows if row]
        prompts = [thread.prompt for thread in threads for _ in thread.comments]
        comments = [comment for thread in threads for comment in thread.comments]
        read = iter(self.annotator.annotate(prompts, comments))
        done = iter([replace(t, comments=tuple(replace(c, levels=next(read)) for c in t.comments)) for t in threads])
        return [(next(done) if row else None, []) for row in rows]


def clean(row: dict[str, Any], config: ConstructConfig) -> tuple[Thread | None, list[Drop]]:
    """`steps.clean` of a row of stage raw."""
    return steps.clean(records.thread(row), config)


@dataclass(frozen=True, slots=True)
class Paired:
    """A pair, and the thread it is of."""

    thread: Thread
    pair: LabelledPair


def pair(row: dict[str, Any], config: ConstructConfig, seed: int) -> tuple[Paired | None, list[Drop]]:
    """`steps.pair` of a row of stage annotate; nothing of a thread that was dropped before."""
    if not row:
        return None, []
    thread = records.thread(row)
    found = steps.pair(thread, config, seed)
    return (None, [found]) if isinstance(found, Drop) else (Paired(thread, found), [])
