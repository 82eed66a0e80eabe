"""What a worker of construction does with a batch of rows: Arrow in, Arrow out, one outcome per row.

A row is (id, record, notes): the id is a hash of the post's own id and stays the same through all stages, so that a
checkpoint knows what is done; the record is JSON, null once it was dropped; notes are drops and counts of this stage.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from persona_rm.annotators import ANNOTATORS
from persona_rm.annotators.base import Reading
from persona_rm.backends.base import Backends
from persona_rm.backends.minilm import MiniLM, MiniLMConfig
from persona_rm.construct import records
from persona_rm.construct.cleaning import Cleaner
from persona_rm.construct.cleaning.duplicates import exact_hash, signature
from persona_rm.construct.cleaning.pii import leaks
from persona_rm.construct.config import ConstructConfig
from persona_rm.construct.job.worker_progress import tell
from persona_rm.construct.pairing.pairs import pairs
from persona_rm.construct.records import PostPairs, PostRecord
from persona_rm.construct.search.index import Index
from persona_rm.construct.search.personas import PersonaMatches, Personas
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment, Drop, Levels, Thread

ArrowTable = Any
SCHEMA = pa.schema(
    [("id", pa.int64()), ("record", pa.large_string()), ("notes", pa.large_string()), ("prints", pa.large_binary())]
)
"""`prints`: fingerprints of a post's texts, for the search of duplicates; empty where there are none."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a row."""

    record: dict[str, Any] | None = None
    drops: Sequence[Drop] = ()
    counts: Mapping[str, float] = field(default_factory=dict)
    prints: bytes = b""


RowsToOutcomes = Callable[[list[dict[str, Any] | None]], list[Outcome]]


@dataclass(frozen=True, slots=True)
class AnnotatorSpec:
    """An annotator by name, so that workers build their own; `encoder` is what its MiniLM is made with."""

    name: str
    params: Mapping[str, Any]
    encoder: MiniLMConfig = field(default_factory=MiniLMConfig)


def table(rows: Sequence[tuple[int, Outcome]]) -> ArrowTable:
    """Outcomes as Arrow."""
    made = [
        (
            id_,
            None if o.record is None else json.dumps(o.record, ensure_ascii=False),
            records.noted(o.drops, o.counts),
            o.prints,
        )
        for id_, o in rows
    ]
    columns = zip(*made, strict=True) if made else [()] * len(SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    return pa.table(arrays, schema=SCHEMA)


class Map:
    """A function of rows over Arrow batches; `told` hears of every batch. Every row gives exactly one outcome."""

    def __init__(self, told: Path, function: RowsToOutcomes) -> None:
        self.told, self.function = told, function

    def __call__(self, batch: ArrowTable) -> ArrowTable:
        ids, bodies = batch.column("id").to_pylist(), batch.column("record").to_pylist()
        outcomes = self.function([None if body is None else json.loads(body) for body in bodies])
        tell(self.told, len(ids))
        return table(list(zip(ids, outcomes, strict=True)))


def each(function: Callable[[dict[str, Any]], Outcome]) -> RowsToOutcomes:
    """A function of one record, over a batch in which some were dropped before."""
    return lambda rows: [Outcome() if row is None else function(row) for row in rows]


class Clean:
    """`Cleaner` over rows of stage raw; with the fingerprints that the search of duplicates needs."""

    def __init__(self, config: ConstructConfig, salt: bytes) -> None:
        self.config, self.cleaner = config, Cleaner(config.clean, salt)

    def __call__(self, row: dict[str, Any]) -> Outcome:
        done = self.cleaner.clean(records.to_post(row).thread)
        counts = {f"pii {kind}": float(n) for kind, n in done.marks.items()}
        if done.thread is None:
            return Outcome(None, done.drops, counts)
        counts |= self._left(done.thread)
        return Outcome(records.from_post(PostRecord(done.thread)), done.drops, counts, self._prints(done.thread))

    def _left(self, thread: Thread) -> dict[str, float]:
        """The check that no personal data is left: what a second search finds, by kind."""
        if not self.config.clean.pii:
            return {}
        texts = [thread.prompt, *(comment.text for comment in thread.comments)]
        found = Counter(f"pii left {kind}" for text in texts for kind in leaks(text))
        return {"searched": float(len(texts)), **{kind: float(n) for kind, n in found.items()}}

    def _prints(self, thread: Thread) -> bytes:
        """The exact hashes of the post and its responses, then MinHash signatures: the post's, which the split asks
        for, and the responses' where near-duplicates are dropped."""
        texts = [thread.prompt, *(comment.text for comment in thread.comments)]
        exact = np.array([exact_hash(text) for text in texts], np.uint64).tobytes()
        signed = texts if self.config.clean.near_duplicates is not None else texts[:1]
        if self.config.split.near_duplicates is None and len(signed) == 1:
            return exact
        return exact + b"".join(signature(text, self.config.clean).tobytes() for text in signed)


class Annotate:
    """Levels for posts, all responses of a batch in one call, with an annotator and backends of its own."""

    def __init__(self, spec: AnnotatorSpec, config: ConstructConfig, space: PreferenceSpace, threads: int) -> None:
        self.annotator = annotator(spec, space, threads)
        self.config = config

    def __call__(self, rows: list[dict[str, Any] | None]) -> list[Outcome]:
        posts = [records.to_post(row) for row in rows if row]
        prompts = [post.thread.prompt for post in posts for _ in post.thread.comments]
        comments = [comment for post in posts for comment in post.thread.comments]
        readings = self.annotator.read(prompts, comments)
        again = self.annotator.read(prompts, comments, variant=1) if self.config.retest else readings
        both = iter(list(zip(readings, again, strict=True)))
        done = iter([self._outcome(post, [next(both) for _ in post.thread.comments]) for post in posts])
        return [next(done) if row else Outcome() for row in rows]

    def _outcome(self, post: PostRecord, readings: Sequence[tuple[Reading, Reading]]) -> Outcome:
        kept: list[Comment] = []
        drops: list[Drop] = []
        counts = dict.fromkeys(("annotated", "cells", "confidence", "unsure", "unstable"), 0.0)
        for comment, (first, second) in zip(post.thread.comments, readings, strict=True):
            if error := first.error or second.error:
                drops.append(Drop("response", comment.id, f"not annotated: {error}"))
                continue
            kept.append(replace(comment, levels=self._settled(first, second, counts)))
        counts["annotated"] = float(len(kept))
        if not kept:
            return Outcome(None, [*drops, Drop("post", post.thread.id, "no usable response")], counts)
        return Outcome(
            records.from_post(replace(post, thread=replace(post.thread, comments=tuple(kept)))), drops, counts
        )

    def _settled(self, first: Reading, second: Reading, counts: dict[str, float]) -> Levels:
        """The levels that are sure enough and, asked again, the same; others say nothing (level 2)."""
        levels = []
        for level, other, confidence in zip(first.levels, second.levels, first.confidence, strict=True):
            unstable, unsure = level != other, confidence < self.config.min_confidence
            counts["unstable"] += unstable
            counts["unsure"] += unsure and not unstable
            levels.append(2 if unstable or unsure else level)
        counts["cells"] += len(levels)
        counts["confidence"] += sum(first.confidence)
        return tuple(levels)


def annotator(spec: AnnotatorSpec, space: PreferenceSpace, threads: int) -> Any:
    """The annotator that a spec names, with what it asks for."""
    cls, config = ANNOTATORS.member({**spec.params, "name": spec.name})
    encoder = MiniLM(spec.encoder.model_copy(update={"threads": threads}))
    return cls(config, space, Backends(encoder=encoder))


def pair_rows(config: ConstructConfig, seed: int) -> RowsToOutcomes:
    """The pairs of annotated posts."""

    def made(rows: list[dict[str, Any] | None]) -> list[Outcome]:
        posts = [records.to_post(row) for row in rows if row]
        found = pairs([post.thread for post in posts], config, seed)
        done = iter([_paired(post, result) for post, result in zip(posts, found, strict=True)])
        return [next(done) if row else Outcome() for row in rows]

    return made


def _paired(post: PostRecord, found: Any) -> Outcome:
    if isinstance(found, Drop):
        return Outcome(None, [found])
    return Outcome(records.from_pairs(PostPairs(replace(post, thread=replace(post.thread, comments=())), found)))


class Search:
    """Personas for pairs, in the index of their side. Opened where the worker is; texts stay on disk."""

    def __init__(
        self, indices: Mapping[str, Path], config: ConstructConfig, space: PreferenceSpace, seed: int
    ) -> None:
        self.config = config
        self.by_side = {side: Personas(Index(folder, space), config, space, seed) for side, folder in indices.items()}

    def find(self, row: dict[str, Any]) -> Outcome:
        """The rows of the index that make each pair's persona (None: dropped)."""
        found, drops = {}, list[Drop]()
        for kind in ("example", "mirrored") if self.config.mirror else ("example",):
            results = [self._find(row, pair, kind) for pair in records.to_pairs(row).pairs]
            drops += [result for result in results if isinstance(result, Drop)]
            found[kind] = [None if isinstance(r, Drop) else [r.of, r.ugc, r.pairs] for r in results]
        if not any(any(results) for results in found.values()):
            return Outcome(None, drops)
        return Outcome(row | {"found": found}, drops)

    def _find(self, row: dict[str, Any], pair: Any, kind: str) -> PersonaMatches | Drop:
        result = self.by_side[row["side"]].find(records.to_post(row), pair.mirrored() if kind == "mirrored" else pair)
        return replace(result, what=kind) if isinstance(result, Drop) else result

    def examples(self, row: dict[str, Any]) -> Outcome:
        """The examples of what `find` found."""
        entry, personas = records.to_pairs(row), self.by_side[row["side"]]
        made = []
        for kind, results in row["found"].items():
            for pair, result in zip(entry.pairs, results, strict=True):
                if result:
                    turned = pair.mirrored() if kind == "mirrored" else pair
                    example = personas.example(entry.post, turned, PersonaMatches(result[0], *map(tuple, result[1:])))
                    made.append({"kind": kind, "side": row["side"], **records.from_example(example)})
        return Outcome({"examples": made})


class AnnotateActor(Map):
    """`Annotate` inside a Ray actor."""

    def __init__(
        self, told: Path, spec: AnnotatorSpec, config: ConstructConfig, space: PreferenceSpace, threads: int
    ) -> None:
        super().__init__(told, Annotate(spec, config, space, threads))


class SearchActor(Map):
    """A method of `Search` inside a Ray actor."""

    def __init__(
        self,
        told: Path,
        indices: Mapping[str, Path],
        config: ConstructConfig,
        space: PreferenceSpace,
        seed: int,
        method: str,
    ) -> None:
        super().__init__(told, each(getattr(Search(indices, config, space, seed), method)))
