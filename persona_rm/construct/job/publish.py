"""Stage emit: every set as Parquet in the published format, under data/ (mirrored/ for the mirrored examples)."""

import os
import shutil
from pathlib import Path

from persona_rm.construct.job.order import BuildJob
from persona_rm.construct.job.stage import Stages
from persona_rm.construct.stages.emit_stage import Emit, schema
from persona_rm.construct.stages.split_stage import KEPT
from persona_rm.errors import DataError
from persona_rm.extras import extra_needed

with extra_needed("construction", "data"):
    import pyarrow.parquet as pq

SETS = ("train", "test", "alignx_test", "mirrored")


def emit(job: BuildJob, stages: Stages, key: str) -> None:
    """Converts and publishes every set; the rows do not depend on the number of workers."""
    kept_file = stages.folder / "split" / KEPT
    kept = frozenset(kept_file.read_text().split()) if kept_file.is_file() else None

    def work(folder: Path) -> None:
        for name in SETS:
            before = f"split/{name}" if name == "alignx_test" else f"mix/{name}"
            if stages.files(before):
                function = Emit(job.space, schema(_extra(job, name)), kept if name == "train" else None)
                stages.written(before, folder / name, key, function)

    # Published outside of the stage, so that a build whose stage was done before publishes again.
    stages.run("emit", key, work, keeps=True)
    _publish(job.out, stages.folder / "emit")


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
