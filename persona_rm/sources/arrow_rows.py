"""Rows of Arrow files (streams, as `datasets` saves them, or the file format), by pyarrow (the extra `data`)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from persona_rm.errors import BrokenFile, MissingExtra
from persona_rm.io.json_rows import JsonRow, OnBad, report
from persona_rm.io.parquet import rows_of

BATCH = 1024
FILE_FORMAT = b"ARROW1"


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise MissingExtra("Arrow files need pyarrow: pip install persona_rm[data]") from error
    return pyarrow


def read_arrow(path: Path, on_bad: OnBad | None = None) -> Iterator[JsonRow]:
    """Every row; null means that the row lacks the key. What lies behind a break goes to `on_bad`, or raises."""
    pyarrow = _pyarrow()
    number = 0
    try:
        with pyarrow.OSFile(str(path)) as file:
            for batch in _batches(pyarrow, file):
                yield from rows_of(batch, path, number, on_bad)
                number += batch.num_rows
    except (pyarrow.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
        report(BrokenFile(f"cannot be read as Arrow: {error}", file=path, row=number + 1), on_bad)


def _batches(pyarrow: Any, file: Any) -> Iterator[Any]:
    """Pieces of at most `BATCH` rows, checked: offsets of a damaged file may point anywhere."""
    # The first bytes tell the two formats apart; `datasets` and others give both the suffix .arrow.
    magic = file.read(len(FILE_FORMAT))
    file.seek(0)
    reader = (pyarrow.ipc.open_file if magic == FILE_FORMAT else pyarrow.ipc.open_stream)(file)
    whole = (reader.get_batch(n) for n in range(reader.num_record_batches)) if magic == FILE_FORMAT else reader
    for batch in whole:
        batch.validate(full=True)
        for start in range(0, batch.num_rows, BATCH):
            yield batch.slice(start, BATCH)
