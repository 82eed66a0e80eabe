"""Stage raw: the threads of the source, in shards; rows that could not be read are listed in quarantine.jsonl."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from persona_rm.construct import records
from persona_rm.construct.hashing import hashed
from persona_rm.construct.records import PostRecord
from persona_rm.construct.stages.outcome import Outcome, table
from persona_rm.errors import DataError
from persona_rm.sources.base import Source
from persona_rm.types import Thread

if TYPE_CHECKING:
    from persona_rm.construct.config import ConstructConfig

QUARANTINE, COUNTS = "quarantine.jsonl", "counts.json"
SHOWN = 3
"""Reasons that a message names; the quarantine lists all."""


def read_source(source: Source, config: ConstructConfig, seed: int, folder: Path) -> None:
    """Writes the threads that are drawn (`sample`, `max_threads`). A second thread with the same id is a bad row.

    Reading is one pass on the driver, in bounded memory: a shard, and an 8-byte hash per thread id. Raises DataError
    if no thread was drawn.
    """
    seen: set[int] = set()
    shard: list[tuple[int, Outcome]] = []
    counts: Counter[str] = Counter(read=0, not_drawn=0, responses=0)
    bad = Quarantine(folder / QUARANTINE)
    for thread in source.threads(bad):
        # `max_threads` counts the threads that are drawn, so with a small sample reading goes on for longer.
        if len(seen) == config.max_threads:
            break
        name = hashed(thread.source, thread.id)
        if name in seen:
            bad(DataError("a thread of this id was read before", file=thread.source, key="thread id"))
            continue
        counts["read"] += 1
        if not drawn(thread, config.sample, seed):
            counts["not_drawn"] += 1
            continue
        # Only now: a thread that is not drawn takes no memory, and its second row is not drawn either.
        seen.add(name)
        counts["responses"] += len(thread.comments)
        shard.append((name, Outcome(records.from_post(PostRecord(thread)))))
        if len(shard) == config.shard:
            _write(shard, folder)
            shard = []
    if shard:
        _write(shard, folder)
    counts["bad rows"] = bad.count
    (folder / COUNTS).write_text(json.dumps(counts) + "\n")
    if not seen:
        drew = (
            f"none of {counts['read']} threads was drawn (sample {config.sample:g})" if counts["read"] else "no thread"
        )
        raise DataError(f"source {source.name!r} gave {drew}; {bad.reasons}; see {QUARANTINE}", file=folder)


def drawn(thread: Thread, share: float, seed: int) -> bool:
    """Whether a thread is in a sample of this share, by (seed, id); a larger share contains a smaller one."""
    return share >= 1 or hashed("sample", seed, thread.source, thread.id) < share * 2**63


def _write(shard: list[tuple[int, Outcome]], folder: Path) -> None:
    number = len(list(folder.glob("*.parquet")))
    pq.write_table(table(shard), folder / f"{number:06d}.parquet", compression="zstd")


class Quarantine:
    """What could not be read: a line per row or part of one in a file, the number, and the first reasons.

    The file is made at the first line. The content of rows is private and is not copied.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0
        self.first: list[DataError] = []

    def __call__(self, error: DataError) -> None:
        """Add an error. Raises `DataError` if the file cannot be written."""
        self.count += 1
        if len(self.first) < SHOWN:
            self.first.append(error)
        line = {"file": str(error.file), "row": error.row, "key": error.key, "problem": without_content(error)}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("w" if self.count == 1 else "a") as stream:
                stream.write(json.dumps(line) + "\n")
        except OSError as problem:
            raise DataError(f"the quarantine cannot be written: {problem.strerror}", file=self.path) from problem

    @property
    def reasons(self) -> str:
        """How much could not be read, and the first reasons with file, row and key."""
        if not self.count:
            return "nothing was refused"
        shown = [
            str(DataError(without_content(error), file=error.file, row=error.row, key=error.key))
            for error in self.first
        ]
        more = [f"and {self.count - len(shown):,} more"] if self.count > len(shown) else []
        return f"{self.count:,} could not be read: {'; '.join(shown + more)}"


def without_content(error: DataError) -> str:
    """The problem as it may be published: a problem ends at "found", behind which the content stands."""
    return re.sub(r"\bfound (?!None$).*", "found something else", error.problem, flags=re.DOTALL)[:200]


def quarantine(folder: Path) -> list[dict[str, Any]]:
    """The lines of a quarantine."""
    path = folder / QUARANTINE
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
