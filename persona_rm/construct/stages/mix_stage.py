"""The last stages: mix, split and emit, one row per example, in one folder per set.

A set is what a reader loads: `train`, `test`, `alignx_test` (balanced cases out of test) and `mirrored`.
"""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from persona_rm.construct import records
from persona_rm.construct.cleaning.pii import scrub
from persona_rm.construct.curate import curate
from persona_rm.construct.job.emit import schema, to_table
from persona_rm.construct.job.order import BuildJob, universal_sources
from persona_rm.construct.job.read import COUNTS, QUARANTINE, quarantined
from persona_rm.construct.job.stage import Stages
from persona_rm.construct.mix import ValueMix
from persona_rm.construct.split import testset
from persona_rm.construct.split.leakage import check
from persona_rm.errors import DataError
from persona_rm.space import PreferenceSpace
from persona_rm.types import Drop, Example

ROWS = pa.schema([("id", pa.string()), ("record", pa.large_string())])
SHARD = 1000
SETS = ("train", "test", "alignx_test", "mirrored")
LEAKAGE, CELLS, DROPS, KEPT, SIDES = "leakage.json", "cells.json", "drops.jsonl", "kept.txt", "sides.json"


class Shards:
    """Examples written to a folder per set, a file per `SHARD` rows."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rows = folder, dict[str, list[tuple[str, str]]]()
        self.counts: Counter[str] = Counter()

    def add(self, name: str, example: Mapping[str, Any]) -> None:
        """One example, as JSON of `records.from_example`."""
        rows = self.rows.setdefault(name, [])
        rows.append((example["id"], json.dumps(example, ensure_ascii=False)))
        self.counts[name] += 1
        if len(rows) == SHARD:
            self._write(name)

    def _write(self, name: str) -> None:
        rows, self.rows[name] = self.rows[name], []
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        arrays = [pa.array(column, field.type) for column, field in zip(zip(*rows, strict=True), ROWS, strict=True)]
        path = folder / f"{len(list(folder.glob('*.parquet'))):06d}.parquet"
        pq.write_table(pa.table(arrays, schema=ROWS), path, compression="zstd")

    def close(self) -> None:
        """Writes what is left, and the counts."""
        for name in [name for name, rows in self.rows.items() if rows]:
            self._write(name)
        (self.folder / COUNTS).write_text(json.dumps(self.counts) + "\n")


def mix(job: BuildJob, stages: Stages, folder: Path) -> None:
    """The construction's examples, one row each, and those of the universal-value sets."""
    shards = Shards(folder)
    for row in stages.records("demo"):
        for entry in row["examples"]:
            if entry["kind"] == "example":
                shards.add(entry["side"], entry)
            elif entry["side"] == "train":
                shards.add("mirrored", entry)
            else:
                shards.counts["mirrored of test"] += 1
    with (folder / QUARANTINE).open("w") as bad, (folder / DROPS).open("w") as drops:
        for side, found in _universal(job, bad, shards.counts):
            if isinstance(found, Drop):
                drops.write(json.dumps([found.what, found.id, found.reason]) + "\n")
            else:
                shards.add(side, records.from_example(found))
                shards.counts[f"universal {side}"] += 1
    shards.close()


def _universal(job: BuildJob, bad: Any, counts: Counter[str]) -> Iterator[tuple[str, Example | Drop]]:
    """(side, example or why there is none) for every pair of the universal sets, scrubbed as people's texts are."""
    pairs, others = [], Counter(counts)
    for source in universal_sources(job):
        pairs += [
            replaced(pair) if job.config.clean.pii else pair
            for pair in source.pairs(lambda error: bad.write(quarantined(error)))
        ]
        counts[f"read {source.name}"] = len(pairs) - counts["value pairs"]
        counts["value pairs"] = len(pairs)
    if pairs:
        both = ValueMix(pairs, job.config.mix, job.space, job.seed, job.config.split.test)
        for side in ("train", "test"):
            yield from ((side, found) for found in both.rows(side, others[side]))


def replaced(pair: Any) -> Any:
    """A value pair without personal data."""
    return replace(pair, **{name: scrub(getattr(pair, name))[0] for name in ("prompt", "chosen", "rejected")})


def examples(stages: Stages, stage: str, name: str) -> Iterator[Example]:
    """The examples of a set."""
    for path in sorted((stages.folder / stage / name).glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(256, columns=["record"]):
                yield from (records.to_example(json.loads(text)) for text in batch.column(0).to_pylist())


def split(job: BuildJob, stages: Stages, folder: Path) -> None:
    """The balanced test cases, the training examples that are kept, and the check that the sides share nothing."""
    read = partial(examples, stages, "mix")
    if job.config.curate is not None:
        chosen = curate(read("train"), job.config.curate)
        (folder / KEPT).write_text("\n".join(chosen.ids) + "\n")
    if not job.config.split.test:
        return
    shards = Shards(folder)
    found = testset.build(partial(read, "test"), job.config.testset, job.space, job.seed)
    for example in found.examples:
        shards.add("alignx_test", records.from_example(example))
    shards.close()
    (folder / CELLS).write_text(json.dumps([[c.dimension, c.direction, c.eligible, c.chosen] for c in found.cells]))
    found_leaks: dict[str, Any] = {"clean": True, "rows": []}
    if all(any(True for _ in read(name)) for name in ("train", "test")):
        report = check(read("train"), read("test"), job.config.split.near_duplicates)
        found_leaks = {"clean": report.clean, "rows": report.rows()}
    (folder / LEAKAGE).write_text(json.dumps(found_leaks) + "\n")


class Emit:
    """Rows of a set as the published columns, without those that curation left out."""

    def __init__(self, space: PreferenceSpace, columns: Any, kept: frozenset[str] | None) -> None:
        self.space, self.columns, self.kept = space, columns, kept

    def __call__(self, batch: Any) -> Any:
        rows = [records.to_example(json.loads(text)) for text in batch.column("record").to_pylist()]
        return to_table([e for e in rows if self.kept is None or e.id in self.kept], self.space, self.columns)


def emit(job: BuildJob, stages: Stages, key: str) -> None:
    """Every set as Parquet under data/ (mirrored/ for that one), the same rows whatever the workers."""
    kept_file = stages.folder / "split" / KEPT
    kept = frozenset(kept_file.read_text().split()) if kept_file.is_file() else None

    def work(folder: Path) -> None:
        for name in SETS:
            before = f"split/{name}" if name == "alignx_test" else f"mix/{name}"
            if stages.files(before):
                function = Emit(job.space, schema(_extra(job, name)), kept if name == "train" else None)
                stages.written(before, folder / name, key, function)

    stages.run("emit", key, work, keeps=True)
    _publish(job.out, stages.folder / "emit")


def _extra(job: BuildJob, name: str) -> list[str]:
    columns = ["author", "persona"] if job.config.persona != "similar" else []
    return columns + (["dimension", "direction"] if name == "alignx_test" else [])


def _publish(out: Path, emitted: Path) -> None:
    """data/train-00000-of-00003.parquet and so on, linked to the stage's files (copied where links are not known)."""
    for name in SETS:
        target = out / ("mirrored" if name == "mirrored" else "data")
        for old in target.glob(f"{name}-*.parquet"):
            old.unlink()
        files = [file for file in sorted((emitted / name).glob("*.parquet")) if pq.read_metadata(file).num_rows]
        for number, file in enumerate(files):
            target.mkdir(exist_ok=True)
            _linked(file, target / f"{name}-{number:05d}-of-{len(files):05d}.parquet")


def _linked(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def need_examples(out: Path) -> None:
    """Raises `DataError` where nothing came out."""
    if not list((out / "data").glob("*.parquet")):
        raise DataError("no example came out; README.md and card.json say why", file=out)
