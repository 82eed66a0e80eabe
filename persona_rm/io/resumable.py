"""JSON lines that are written over hours: batch by batch, and from where they stopped after an interruption.

Until everything is written, rows and faults lie in a folder beside the output (`.NAME.parts`). Every few seconds a
record there says how far the input was read and how long both files are. What was written after the last record is cut
off when the work goes on, so no row is lost or written twice.
"""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from persona_rm.errors import DataError
from persona_rm.io.json_file import read_object
from persona_rm.io.json_rows import atomic

ROWS, FAULTS, RECORD = "rows.jsonl", "quarantine.jsonl", "record.json"


class ResumableRows:
    """The rows of one output file, and the faults of its input (`NAME_quarantine.jsonl`).

    `key` names all that the rows depend on. An earlier attempt with another key is deleted. `position` and `state` are
    those of the last record: how far the input was read, and what the caller counted. `every`: the seconds between
    two records, because the state of many users takes a while to write.
    """

    def __init__(self, out: Path, key: Mapping[str, Any], every: float = 5.0) -> None:
        self.out, self.folder, self.every = out, out.with_name(f".{out.name}.parts"), every
        self._recorded = time.monotonic()
        self.key: dict[str, Any] = json.loads(json.dumps(key))
        self.position: list[int] = []
        self.state: dict[str, Any] = {}
        record = self._record()
        self.resumed = record is not None
        if record is None:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            for name in (ROWS, FAULTS):
                (self.folder / name).touch()
        else:
            self.position, self.state = record["position"], record["state"]
            for name, size in record["sizes"].items():
                os.truncate(self.folder / name, size)

    @property
    def quarantine(self) -> Path:
        """The file of faults beside the output. It exists only if there were any."""
        return self.out.with_name(f"{self.out.stem}_quarantine.jsonl")

    def add(
        self,
        rows: Iterable[Mapping[str, Any]],
        faults: Iterable[DataError],
        position: list[int],
        state: Callable[[], dict[str, Any]],
    ) -> None:
        """Write the rows and faults of a batch and, if it is time, the record of them. `state` is what was counted."""
        self._append(ROWS, rows)
        self._append(FAULTS, ({"file": str(e.file), "row": e.row, "key": e.key, "error": e.problem} for e in faults))
        if time.monotonic() - self._recorded >= self.every:
            sizes = {name: (self.folder / name).stat().st_size for name in (ROWS, FAULTS)}
            record = {"key": self.key, "position": position, "state": state(), "sizes": sizes}
            with atomic(self.folder / RECORD) as temporary:
                temporary.write_text(json.dumps(record, ensure_ascii=False), encoding="utf-8")
            self._recorded = time.monotonic()

    def finish(self) -> bool:
        """Put the files in their places. The output appears whole, and an older one is replaced. Without any row there
        is no output, and an older one stays: then the result is False."""
        self.quarantine.unlink(missing_ok=True)
        if (self.folder / FAULTS).stat().st_size:
            (self.folder / FAULTS).replace(self.quarantine)
        written = (self.folder / ROWS).stat().st_size > 0
        if written:
            (self.folder / ROWS).replace(self.out)
        shutil.rmtree(self.folder)
        return written

    def _append(self, name: str, rows: Iterable[Mapping[str, Any]]) -> None:
        with (self.folder / name).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)

    def _record(self) -> dict[str, Any] | None:
        """The record of an interrupted attempt with the same key, None if there is none."""
        path = self.folder / RECORD
        if not path.is_file():
            return None
        record = read_object(path)
        return record if record.get("key") == self.key else None
