"""Stage emit: every set as Parquet in the published format, under data/ (mirrored/ for the mirrored examples)."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from persona_rm.cluster.ray_start import console
from persona_rm.cluster.ray_wait import ray_results
from persona_rm.construct.job.cluster import own
from persona_rm.construct.job.order import BuildJob
from persona_rm.construct.job.stage import TOLD, Stages
from persona_rm.construct.job.worker_progress import shown, tell
from persona_rm.construct.stages.emit_stage import Emit, schema
from persona_rm.construct.stages.split_stage import KEPT
from persona_rm.errors import DataError
from persona_rm.extras import extra_needed
from persona_rm.io.json_rows import atomic

with extra_needed("construction", "data"):
    import pyarrow as pa
    import pyarrow.parquet as pq

SETS = ("train", "test", "alignx_test", "mirrored")


def emit(job: BuildJob, stages: Stages, key: str) -> None:
    """Converts and publishes every set; the rows and their order do not depend on the number of workers."""
    kept_file = stages.folder / "split" / KEPT
    kept = frozenset(kept_file.read_text().split()) if kept_file.is_file() else None
    before = {name: f"split/{name}" if name == "alignx_test" else f"mix/{name}" for name in SETS}

    def work(folder: Path) -> None:
        told = folder / TOLD
        with shown("emit", told, sum(map(stages.count, before.values())), console):
            for name in SETS:
                columns = schema(_extra(job, name))
                function = Emit(job.space, columns, kept if name == "train" else None)
                files, target = stages.files(before[name]), folder / name
                _converted(files, target, function, columns, told, stages.stall_timeout)

    # Published outside of the stage, so that a build whose stage was done before publishes again.
    stages.run("emit", key, work, keeps=True)
    _publish(job.out, stages.folder / "emit")


def _converted(
    files: Sequence[Path], folder: Path, function: Emit, columns: Any, told: Path, stall_timeout: float
) -> None:
    """What `function` makes of each file, under the same name in `folder`. A file that exists is complete.

    A Ray task per file and not Ray Data, whose files have the order in which their blocks were ready.
    """
    import ray

    convert = ray.remote(num_cpus=1)(_convert)
    # Put once: with curation the function holds the ids of all rows that are kept.
    shared = ray.put(function)
    targets = {source: folder / source.name for source in files}
    waiting = [
        convert.remote(source, target, shared, columns, told)
        for source, target in targets.items()
        if not target.exists()
    ]
    try:
        ray_results("construct emit", waiting, stall_timeout)
    except Exception as error:
        raise own(error) or error from error


def _convert(source: Path, target: Path, function: Emit, columns: Any, told: Path) -> None:
    with (
        atomic(target) as temporary,
        pq.ParquetFile(source) as file,
        pq.ParquetWriter(temporary, columns, compression="zstd") as writer,
    ):
        for batch in file.iter_batches(256):
            writer.write_table(function(pa.Table.from_batches([batch])))
            tell(told, len(batch))


def _extra(job: BuildJob, name: str) -> list[str]:
    columns = ["author", "persona"] if job.config.persona != "similar" else []
    return columns + (["dimension", "direction"] if name == "alignx_test" else [])


def _publish(out: Path, emitted: Path) -> None:
    """Links data/train-00000-of-00003.parquet and so on to the stage's files, or copies them if links fail."""
    for name in SETS:
        target = out / ("mirrored" if name == "mirrored" else "data")
        # Names hold the number of files, so those of an earlier build would not be overwritten but stand beside the
        # new ones.
        for old in target.glob(f"{name}-*.parquet"):
            old.unlink()
        # Curation may leave nothing of a file.
        files = [file for file in sorted((emitted / name).glob("*.parquet")) if pq.read_metadata(file).num_rows]
        for number, file in enumerate(files):
            target.mkdir(exist_ok=True)
            _linked(file, target / f"{name}-{number:05d}-of-{len(files):05d}.parquet")


def _linked(source: Path, target: Path) -> None:
    try:
        # Links cost no space. File systems without hard links, and a folder on another device, refuse them.
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def need_examples(out: Path) -> None:
    """Raises DataError if the build gave no example."""
    if not list((out / "data").glob("*.parquet")):
        raise DataError("no example came out; README.md and card.json say why", file=out)
