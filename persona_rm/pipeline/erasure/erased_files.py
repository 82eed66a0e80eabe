"""Takes a user out of files by their kind, and finds the files that still name the user."""

import csv
import gzip
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from persona_rm.errors import DataError
from persona_rm.extras import extra_needed
from persona_rm.io.json_rows import atomic, open_atomic
from persona_rm.io.shared_lines import rewrite_lines
from persona_rm.io.unpacked import BREAKS, CHUNK, open_binary
from persona_rm.pipeline.erasure.erased_user import GONE, USER_KEYS, ErasedUser
from persona_rm.users.columns import plain

WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".npy", ".npz", ".gguf")
"""Files of numbers, in which no id stands."""
ARROW_MAGIC = b"ARROW1"
OVERLAP = 4096
"""Bytes that are looked at twice, so that an id at the seam of two blocks is seen."""


def take_out(path: Path, user: ErasedUser) -> int:
    """The number of records that were taken out of the file; 0 for a kind of file that is not changed.

    A file is replaced whole or not at all. Raises `DataError` if it cannot be read as its name says.
    """
    for ending, change in CHANGES.items():
        if path.name.endswith(ending):
            return change(path, user)
    return 0


def _lines(path: Path, user: ErasedUser) -> int:
    return rewrite_lines(path, user.without_in_line)


def _packed_lines(path: Path, user: ErasedUser) -> int:
    try:
        with gzip.open(path, "rb") as lines:
            differing = sum(user.without_in_line(line) != line for line in lines)
        if differing:
            with gzip.open(path, "rb") as lines, open_atomic(path) as out:
                out.writelines(new for line in lines if (new := user.without_in_line(line)) is not None)
    except BREAKS as error:
        raise DataError(f"cannot be unpacked ({type(error).__name__})", file=path) from error
    return differing


def _document(path: Path, user: ErasedUser) -> int:
    data = path.read_bytes()
    if not user.is_named_in(data):
        return 0
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError("names the user and is no JSON", file=path) from error
    left = user.without(value, document=True)
    if left is GONE:
        path.unlink()
    elif left is not value:
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(left, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return int(left is not value)


def _table(path: Path, user: ErasedUser) -> int:
    data = path.read_bytes()
    if not user.is_named_in(data):
        return 0
    rows = csv.reader(io.StringIO(data.decode("utf-8-sig", "surrogateescape"), newline=""), delimiter=_delimiter(path))
    head = next(rows)
    named = [place for place, name in enumerate(head) if plain(name) in USER_KEYS]
    every = list(rows)
    kept = [row for row in every if not any(row[place] in user.names for place in named if place < len(row))]
    if len(kept) < len(every):
        with (
            atomic(path) as temporary,
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as out,
        ):
            csv.writer(out, delimiter=_delimiter(path), lineterminator="\n").writerows([head, *kept])
    return len(every) - len(kept)


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix == ".tsv" else ","


def _parquet(path: Path, user: ErasedUser) -> int:
    with extra_needed("erasing from Parquet files", "data"):
        from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        taken = sum(_batch_without(batch, user)[1] for batch in file.iter_batches())
        if taken:
            schema = file.schema_arrow
            with atomic(path) as temporary, parquet.ParquetWriter(temporary, schema) as writer:
                for batch in file.iter_batches():
                    writer.write_table(_batch_without(batch, user)[0])
    return taken


def _arrow(path: Path, user: ErasedUser) -> int:
    """A file or stream of Arrow, as `datasets` writes it."""
    table, is_file = _arrow_table(path)
    lefts = [_batch_without(batch, user) for batch in table.to_batches()]
    taken = sum(n for _, n in lefts)
    if taken:
        import pyarrow
        from pyarrow import ipc

        kind = ipc.new_file if is_file else ipc.new_stream
        with atomic(path) as temporary, pyarrow.OSFile(str(temporary), "wb") as sink, kind(sink, table.schema) as out:
            for left, _ in lefts:
                out.write_table(left)
    return taken


def _arrow_table(path: Path) -> tuple[Any, bool]:
    """The table, and whether it is a file of Arrow; otherwise it is a stream."""
    with extra_needed("erasing from Arrow files", "data"):
        import pyarrow
        from pyarrow import ipc

    with pyarrow.OSFile(str(path)) as source:
        is_file = source.read(len(ARROW_MAGIC)) == ARROW_MAGIC
        source.seek(0)
        return (ipc.open_file(source) if is_file else ipc.open_stream(source)).read_all(), is_file


def _batch_without(batch: Any, user: ErasedUser) -> tuple[Any, int]:
    """The rows of a batch that are left, as a table, and how many differ."""
    import pyarrow

    rows = batch.to_pylist()
    lefts = [user.without(row) for row in rows]
    differing = sum(left is not row for left, row in zip(lefts, rows, strict=True))
    if not differing:
        return pyarrow.Table.from_batches([batch]), 0
    return pyarrow.Table.from_pylist([row for row in lefts if row is not GONE], schema=batch.schema), differing


CHANGES: dict[str, Callable[[Path, ErasedUser], int]] = {
    ".jsonl": _lines,
    ".jsonl.gz": _packed_lines,
    ".json": _document,
    ".csv": _table,
    ".tsv": _table,
    ".parquet": _parquet,
    ".arrow": _arrow,
}
"""How a user is taken out of a file, by the end of its name."""


def still_says(path: Path, user: ErasedUser) -> str:
    """What a file still says about the user: "names the user", "quotes the user", or "" for nothing."""
    if path.suffix in WEIGHTS:
        return ""
    quoted = False
    for block in _blocks(path):
        if user.is_named_in(block):
            return "names the user"
        quoted = quoted or user.is_quoted_in(block)
    return "quotes a text of the user" if quoted else ""


def _blocks(path: Path) -> Iterator[bytes]:
    if path.suffix in (".parquet", ".arrow"):
        yield from _row_blocks(path)
        return
    before = b""
    with open_binary(path) as stream:
        while block := stream.read(CHUNK):
            yield before + block
            before = block[-OVERLAP:]


def _row_blocks(path: Path) -> Iterator[bytes]:
    if path.suffix == ".arrow":
        for batch in _arrow_table(path)[0].to_batches():
            yield _as_bytes(batch)
        return
    with extra_needed("reading Parquet files", "data"):
        from pyarrow import parquet

    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches():
            yield _as_bytes(batch)


def _as_bytes(batch: Any) -> bytes:
    def text(value: Any) -> str:
        return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

    return json.dumps(batch.to_pylist(), ensure_ascii=False, default=text).encode("utf-8", "replace")
