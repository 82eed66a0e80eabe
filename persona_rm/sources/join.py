"""An external hash join: rows that share a key come together although neither side fits in memory.

Rows are written to bucket files by the hash of their key, then read bucket by bucket, so that memory is bounded by the
largest bucket (about the text's size / `buckets`) and by `BUFFER`. A bucket is a range of hashes, and groups come in
the order of hashes: the same groups in the same order for any number of buckets and any order of the input.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from pydantic import PositiveInt

from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.io.json_rows import JsonRow, OnBad

ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
HASH_BYTES = 16
HASH = 2 * HASH_BYTES
"""Hexadecimal digits before each row: enough that no two keys share them."""
BUFFER = 16 << 20
"""Bytes that wait to be written: one write per bucket and round, and never more than one open file."""


class JoinConfig(Config):
    """`buckets`: how many parts; more need less memory. `scratch`: the folder for them, the system's own if not given.

    Neither changes what is read, nor its order.
    """

    buckets: PositiveInt = 256
    scratch: str | None = None


class Placed(NamedTuple):
    """Where a row belongs, as what, and what of it is needed there."""

    key: str
    kind: str
    data: dict[str, Any]


Group = dict[str, list[JsonRow]]
"""The rows of one key, by kind, each kind in the order of the input."""


def join(
    rows: Iterable[JsonRow], place: Callable[[JsonRow], Placed | None], config: JoinConfig, on_bad: OnBad
) -> Iterator[Group]:
    """Groups of rows. `place` gives None for a row that is not wanted; its `DataError`s go to `on_bad`."""
    # Removed with its buckets also if reading raises, or is given up half-way.
    with TemporaryDirectory(prefix="persona_rm-join-", dir=config.scratch) as folder:
        buckets = Buckets(Path(folder), config.buckets)
        for row in rows:
            try:
                placed = place(row)
            except DataError as error:
                on_bad(error)
                continue
            if placed:
                buckets.add(placed, row)
        yield from buckets.groups()


class Buckets:
    """The bucket files of one join. A line is the key's hash and a JSON list: kind, file, row, data."""

    def __init__(self, folder: Path, count: int) -> None:
        self.folder, self.count = folder, count
        self.files: dict[str, int] = {}
        self.waiting: dict[int, list[bytes]] = {}
        self.size = 0

    def add(self, placed: Placed, row: JsonRow) -> None:
        """Writes what `placed` keeps of a row."""
        hashed = blake2b(placed.key.encode("utf-8", "surrogatepass"), digest_size=HASH_BYTES).hexdigest()
        # A number in place of the name of the file, which would stand in every line.
        file = self.files.setdefault(row.file, len(self.files))
        text = ENCODER.encode([placed.kind, file, row.number, placed.data])
        line = f"{hashed}{text}\n".encode("utf-8", "surrogatepass")
        # A bucket is a range of hashes, which a modulo would not give: then the order of groups would depend on
        # `count`.
        self.waiting.setdefault(int(hashed, 16) * self.count >> (8 * HASH_BYTES), []).append(line)
        self.size += len(line)
        if self.size > BUFFER:
            self._write()

    def _write(self) -> None:
        for bucket, lines in self.waiting.items():
            with self._path(bucket).open("ab") as stream:
                stream.writelines(lines)
        self.waiting.clear()
        self.size = 0

    def _path(self, bucket: int) -> Path:
        return self.folder / f"{bucket}.jsonl"

    def groups(self) -> Iterator[Group]:
        """Every group; each bucket's file is removed once it is read."""
        self._write()
        for bucket in range(self.count):
            path = self._path(bucket)
            if path.exists():
                with path.open("rb") as stream:
                    lines = list(stream)
                path.unlink()
                yield from self._of_bucket(lines)

    def _of_bucket(self, lines: list[bytes]) -> Iterator[Group]:
        # The sort is stable, so the rows of a key stay in the order of the input.
        lines.sort(key=_hash)
        files = list(self.files)
        for _, same in groupby(lines, key=_hash):
            group: Group = {}
            for line in same:
                kind, file, number, data = json.loads(line[HASH:].decode("utf-8", "surrogatepass"))
                group.setdefault(kind, []).append(JsonRow(data, files[file], number))
            yield group


def _hash(line: bytes) -> bytes:
    return line[:HASH]
