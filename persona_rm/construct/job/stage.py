"""The folders of the stages: each has a key, and a checkpoint of the rows that are written.

A finished stage leaves `_done.json` with its key (`stage_keys`) and is skipped while the key is the same; a new key
empties the folder and runs the stage, and those after it, again. A stage that was killed finds its key in `_key.json`
and resumes: Ray Data's checkpoint, under that key, holds the ids of the rows that are written. (A checkpoint must
never be used with another output folder: Ray would silently drop the rows.)
"""

import errno
import fcntl
import json
import os
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from persona_rm.cluster.ray_start import console
from persona_rm.cluster.ray_wait import watched
from persona_rm.construct import records
from persona_rm.construct.job.actors import Map
from persona_rm.construct.job.cluster import own
from persona_rm.construct.job.row_order import in_order
from persona_rm.construct.job.worker_progress import shown
from persona_rm.construct.stages.outcome import RowsToOutcomes
from persona_rm.errors import DataError, PersonaRMError
from persona_rm.extras import extra_needed
from persona_rm.types import Drop

with extra_needed("construction", "data"):
    import pyarrow.parquet as pq

DONE, KEY, LOCK, CHECKPOINT, TOLD = "_done.json", "_key.json", "_lock", "_checkpoint", "_rows"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@dataclass
class Stages:
    """The stages of one build folder. `seconds` is what each took."""

    folder: Path
    resume: bool = True
    stall_timeout: float = 1800
    """Seconds without a finished row or file, after which a stage that runs on Ray ends with an error."""
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Holds the folder. Raises DataError if another build works in it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # Mode a+ makes the file and does not empty it: another build reads there who holds the lock.
        with (self.folder / LOCK).open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                who = file.read().strip() or "another process"
                raise DataError(
                    f"another build works in this folder ({who}); wait for it, or give this one another out=FOLDER",
                    file=self.folder,
                ) from error
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            try:
                yield
            finally:
                file.truncate(0)

    def is_done(self, name: str, key: str) -> bool:
        """Was the stage finished under this key?"""
        return _key_in(self.folder / name / DONE) == key

    def run(self, name: str, key: str, work: Callable[[Path], None], *, keeps: bool = False) -> None:
        """Does `work(folder)` unless it was done under this key. With `keeps`, a killed stage finds what it wrote."""
        folder = self.folder / name
        if self.resume and self.is_done(name, key):
            self.seconds[name] = float(json.loads((folder / DONE).read_text())["seconds"])
            console.print(f"construct {name}: done before, skipped", style="dim")
            return
        goes_on = self.resume and keeps and _key_in(folder / KEY) == key and not (folder / DONE).exists()
        # What another key wrote must not be mixed with what this one writes.
        if not goes_on:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        _write(folder / KEY, {"key": key})
        started = time.monotonic()
        if goes_on:
            console.print(f"construct {name}: goes on after an interruption")
        with full_disk_told(folder):
            work(folder)
        self.seconds[name] = round(time.monotonic() - started, 1)
        _write(folder / DONE, {"key": key, "seconds": self.seconds[name]})
        # Removed only now: before `_done.json` is written, a killed stage still needs it.
        for checkpoint in folder.rglob(CHECKPOINT):
            shutil.rmtree(checkpoint, ignore_errors=True)
        rows = f"{count:,} rows in " if (count := self.count(name)) else ""
        console.print(f"construct {name}: {rows}{self.seconds[name]} s")

    def files(self, name: str) -> list[Path]:
        """The stage's Parquet files."""
        return sorted((self.folder / name).glob("*.parquet"))

    def count(self, name: str) -> int:
        """The stage's rows."""
        folder = self.folder / name
        files = (file for file in folder.rglob("*.parquet") if CHECKPOINT not in file.relative_to(folder).parts)
        return sum(pq.read_metadata(file).num_rows for file in files)

    def rows(self, name: str, *columns: str) -> Iterator[dict[str, Any]]:
        """Every row, file by file, batch by batch; their order means nothing."""
        for path in self.files(name):
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(1024, columns=list(columns)):
                    yield from batch.to_pylist()

    def records(self, name: str) -> Iterator[dict[str, Any]]:
        """Every record that was not dropped; their order means nothing."""
        return (json.loads(row["record"]) for row in self.rows(name, "record") if row["record"] is not None)

    def ordered_records(self, name: str, folder: Path) -> Iterator[dict[str, Any]]:
        """Every record that was not dropped, in the order of the source, however the stage was run. Temporary files
        are in `folder`, that of the stage that reads: if it is killed, they go when it is run again."""
        order = np.fromiter((row["id"] for row in self.rows("raw", "id")), np.int64)
        rows = ((row["id"], row["record"]) for row in self.rows(name, "id", "record") if row["record"] is not None)
        return map(json.loads, in_order(rows, order, folder))

    def notes(self, name: str) -> Iterator[tuple[list[Drop], dict[str, float]]]:
        """(drops, counts) of every row."""
        return (records.notes(row["notes"]) for row in self.rows(name, "notes"))

    def mapped(self, before: str, name: str, key: str, rows: RowsToOutcomes | type, **options: Any) -> None:
        """Read -> map_batches -> Write in Ray Data, with a checkpoint: one row out for every row in."""

        def work(folder: Path) -> None:
            told = folder / TOLD
            function = rows if isinstance(rows, type) else Map(told, rows)
            with shown(name, told, self.count(before) - _checkpointed(folder / CHECKPOINT / key), console):
                self._written(before, folder, key, function, **options)
            # Ray drops rows silently if a checkpoint names them and the output lacks them. Only the counts tell.
            rows_in, rows_out = self.count(before), self.count(name)
            if rows_in != rows_out:
                problem = f"stage {name} was given {rows_in} rows and wrote {rows_out}; build --no-resume"
                raise DataError(problem, file=folder)

        self.run(name, key, work, keeps=True)

    def _written(self, before: str, folder: Path, key: str, function: Any, **options: Any) -> None:
        """What `function` makes of the rows of `before`, as Parquet in `folder`, a file per file; the checkpoint is
        for this folder alone."""
        import ray.data
        from ray.data.checkpoint import CheckpointConfig

        context, files = ray.data.DataContext.get_current(), [str(file) for file in self.files(before)]
        checkpoint = folder / CHECKPOINT / key
        context.checkpoint_config = CheckpointConfig("id", str(checkpoint), delete_checkpoint_on_success=False)
        options = {"batch_size": 256, "batch_format": "pyarrow", "zero_copy_batch": True, **options}
        if isinstance(function, type):  # actors are spread over the nodes
            options["scheduling_strategy"] = "SPREAD"
        if "concurrency" in options:  # an actor without a file of its own would only be started
            options["concurrency"] = min(options["concurrency"], max(1, len(files)))

        def work() -> None:
            data = ray.data.read_parquet(files, override_num_blocks=len(files))
            data.map_batches(function, **options).write_parquet(str(folder))

        try:
            watched(f"construct {folder.name}", work, lambda: self._progress(folder), self.stall_timeout)
        except Exception as error:
            raise own(error) or error from error
        finally:
            # The context is that of the process: the next read of Ray Data must not use this checkpoint.
            context.checkpoint_config = None

    def _progress(self, folder: Path) -> tuple[int, int]:
        """A value that changes with every row that a worker told of and with every file that is written."""
        told = folder / TOLD
        return told.stat().st_size if told.is_file() else 0, sum(1 for _ in folder.rglob("*.parquet"))


def _checkpointed(checkpoint: Path) -> int:
    """The rows that a checkpoint holds for done."""
    # A pending file is about rows that were not committed.
    files = [file for file in checkpoint.glob("*.parquet") if ".pending" not in file.name]
    return sum(pq.read_metadata(file).num_rows for file in files)


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """The system's error about space as one that says what to do, any other with its file; nothing that is finished is
    lost."""
    try:
        yield
    except OSError as error:
        if isinstance(error, PersonaRMError):
            raise
        if error.errno not in FULL:
            raise DataError(str(error), file=folder) from error
        free = shutil.disk_usage(folder).free if folder.exists() else 0
        raise DataError(
            f"could not write ({error.strerror or error}); {free / 1e6:,.0f} MB are free here. Make room and start "
            "the same command again: it goes on where it stopped",
            file=folder,
        ) from error


def _key_in(path: Path) -> str:
    return str(json.loads(path.read_text())["key"]) if path.is_file() else ""


def _write(path: Path, content: object) -> None:
    # Renamed when complete: a process that is killed here leaves no half of a key.
    temporary = path.with_suffix(".part")
    temporary.write_text(json.dumps(content) + "\n")
    temporary.replace(path)
