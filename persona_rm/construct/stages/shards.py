"""Sets of examples as Parquet files: a folder per set, a file per `SHARD` rows, one row of JSON per example.

A set is what a reader loads: `train`, `test`, `alignx_test` (balanced cases out of test) and `mirrored`.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from persona_rm.construct import records
from persona_rm.types import Example

ROWS = pa.schema([("id", pa.string()), ("record", pa.large_string())])
SHARD = 1000
COUNTS = "counts.json"


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
        # Six digits, so that sorting by name is the order of writing, which `read_shards` promises.
        path = folder / f"{len(list(folder.glob('*.parquet'))):06d}.parquet"
        pq.write_table(pa.table(arrays, schema=ROWS), path, compression="zstd")

    def close(self) -> None:
        """Writes the rows that are not written yet, and the counts."""
        for name in [name for name, rows in self.rows.items() if rows]:
            self._write(name)
        (self.folder / COUNTS).write_text(json.dumps(self.counts) + "\n")


def read_shards(folder: Path) -> Iterator[Example]:
    """The examples of one set, in the order in which they were written."""
    for path in sorted(folder.glob("*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(256, columns=["record"]):
                for text in batch.column(0).to_pylist():
                    yield records.to_example(json.loads(text))
