"""The work of a stage inside a Ray worker: Arrow in, Arrow out, progress told to the driver, backends of its own."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from persona_rm.annotators import ANNOTATORS
from persona_rm.backends.base import Backends
from persona_rm.backends.minilm import MiniLM, MiniLMConfig
from persona_rm.construct.config import ConstructConfig, DemoConfig
from persona_rm.construct.job.worker_progress import tell
from persona_rm.construct.stages.annotate_stage import Annotate
from persona_rm.construct.stages.demo_stage import Describe
from persona_rm.construct.stages.outcome import ArrowTable, Outcome, RowsToOutcomes, each, table
from persona_rm.construct.stages.search_stage import Search
from persona_rm.space import PreferenceSpace


@dataclass(frozen=True, slots=True)
class AnnotatorSpec:
    """An annotator by name, from which each worker builds its own. `encoder` configures the worker's MiniLM."""

    name: str
    params: Mapping[str, Any]
    encoder: MiniLMConfig = field(default_factory=MiniLMConfig)


def annotator(spec: AnnotatorSpec, space: PreferenceSpace, threads: int) -> Any:
    """The annotator that a spec names, with an encoder of `threads` CPU threads."""
    cls, config = ANNOTATORS.member({**spec.params, "name": spec.name})
    # The encoder loads its model at the first text, so it costs nothing for an annotator that needs none.
    encoder = MiniLM(spec.encoder.model_copy(update={"threads": threads}))
    return cls(config, space, Backends(encoder=encoder))


def generator_class(config: DemoConfig) -> tuple[Any, Any]:
    """(class, config class) of the language model that writes descriptions."""
    if config.by == "llm":
        from persona_rm.backends.vllm_engine import VllmConfig, VllmGenerator

        return VllmGenerator, VllmConfig
    from persona_rm.backends.openai_http import HttpConfig, HttpGenerator

    return HttpGenerator, HttpConfig


class Map:
    """A function of rows over Arrow batches. Each batch is reported in the file `told`; a row gives one outcome."""

    def __init__(self, told: Path, function: RowsToOutcomes) -> None:
        self.told, self.function = told, function

    def __call__(self, batch: ArrowTable) -> ArrowTable:
        """The outcomes of a batch, in its order."""
        ids, bodies = batch.column("id").to_pylist(), batch.column("record").to_pylist()
        # Rows that were dropped go through every stage, so that each stage has as many rows as the one before.
        outcomes = self.function([None if body is None else json.loads(body) for body in bodies])
        tell(self.told, len(ids))
        return table(list(zip(ids, outcomes, strict=True)))


class AnnotateActor(Map):
    """`Annotate` with an annotator of its own."""

    def __init__(
        self, told: Path, spec: AnnotatorSpec, config: ConstructConfig, space: PreferenceSpace, threads: int
    ) -> None:
        super().__init__(told, Annotate(annotator(spec, space, threads), config))


@dataclass(frozen=True)
class SearchRows:
    """A method of `Search` over rows, as a task and not as an actor: an index is memory-mapped, so a task opens it in
    milliseconds, while an actor would be a process of its own, whose imports take seconds in each stage."""

    indices: Mapping[str, Path]
    config: ConstructConfig
    space: PreferenceSpace
    seed: int
    method: str

    @cached_property
    def _rows(self) -> RowsToOutcomes:
        return each(getattr(Search(self.indices, self.config, self.space, self.seed), self.method))

    def __call__(self, rows: list[dict[str, Any] | None]) -> list[Outcome]:
        """The outcomes of rows, in their order."""
        return self._rows(rows)


class DescribeActor(Map):
    """`Describe` with a language model and an annotator of its own."""

    def __init__(self, told: Path, spec: AnnotatorSpec, config: ConstructConfig, space: PreferenceSpace) -> None:
        model, settings = generator_class(config.demo)
        generator = model(settings(**config.demo.generator))
        super().__init__(told, Describe(annotator(spec, space, 1), generator, config.demo, space))
