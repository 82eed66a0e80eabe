"""Reads and writes rows of Parquet files with pyarrow (extra `data`). A null means that the row lacks the key."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from persona_rm.errors import BrokenFile, DataError, MissingExtra
from persona_rm.io.json_rows import JsonRow, OnBad, report
from persona_rm.io.unpacked import CHUNK

BATCH = 1024
UNREADABLE = (ArithmeticError, ValueError, LookupError, TypeError, RuntimeError)
"""What pyarrow raises for a value that Python cannot hold: a time in the year 55969, an unknown time zone (a
LookupError), a type that has no Python form (Arrow's own exceptions are of ValueError or RuntimeError)."""
DIRECTIONS = "Preference Direction"
ITEMS = {
    "User-Generated Content": ("prompt", "comment"),
    "Pair-wise Comparative Feedback": ("prompt", "chosen", "rejected"),
}
"""The columns that hold lists of objects, and the texts of these objects."""


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise MissingExtra("Parquet needs pyarrow: pip install persona_rm[data]") from error
    return pyarrow, pyarrow.parquet


def read_parquet(path: Path, on_bad: OnBad | None = None) -> Iterator[JsonRow]:
    """Every row, read batch by batch. The error of a file that is broken goes to `on_bad`, or is raised."""
    pyarrow, parquet = _pyarrow()
    number = 0
    try:
        # By default pyarrow keeps the pages of the whole file in memory, which for 2 M rows of text was 1.6 GiB.
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=CHUNK) as file:
            for batch in file.iter_batches(BATCH):
                yield from rows_of(batch, path, number, on_bad)
                number += batch.num_rows
    except (pyarrow.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
        report(BrokenFile(f"cannot be read as Parquet: {error}", file=path, row=number + 1), on_bad)


def count_rows(path: Path) -> int:
    """The number of rows in a Parquet file, from its metadata; 0 if it is broken, which reading it will say."""
    pyarrow, parquet = _pyarrow()
    try:
        return int(parquet.read_metadata(path).num_rows)
    except (pyarrow.ArrowException, OSError):
        return 0


def rows_of(batch: Any, path: Path, before: int, on_bad: OnBad | None) -> Iterator[JsonRow]:
    """The rows of an Arrow batch, which `before` rows precede.

    The error of a row with a value that Python cannot hold, such as a time in the year 55969, goes to `on_bad`, or is
    raised.
    """
    names = batch.schema.names
    twice = next((name for place, name in enumerate(names) if name in names[:place]), None)
    if twice is not None:
        # Rows are dicts, in which the second column would silently replace the first.
        raise DataError("the table has this column twice; rename one of them", file=path, key=twice)
    try:
        rows: list[Any] = batch.to_pylist()
    except UNREADABLE:
        rows = [_one_row(batch, place, path, before, on_bad) for place in range(batch.num_rows)]
    for number, row in enumerate(rows, start=before + 1):
        if row is not None:
            yield JsonRow(without_nulls(row), str(path), number)


def _one_row(batch: Any, place: int, path: Path, before: int, on_bad: OnBad | None) -> dict[str, Any] | None:
    """A row, value by value; None if one cannot be read."""
    row: dict[str, Any] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            row[name] = column[place].as_py()
        except UNREADABLE as error:
            report(DataError(f"cannot be read: {error}", file=path, row=before + place + 1, key=name), on_bad)
            return None
    return row


def without_nulls(value: Any) -> Any:
    """The value without the keys that are null, at every depth. Bytes that are UTF-8 are text: many programs write
    their columns of text so."""
    if isinstance(value, dict):
        return {key: without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, bytes):
        return _text_of(value)
    return [without_nulls(item) for item in value] if isinstance(value, list) else value


def _text_of(value: bytes) -> str | bytes:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def write_parquet(path: Path, rows: Iterator[dict[str, Any]], named: Path) -> int:
    """Write rows and return how many. The first 1,024 rows decide the columns. Errors name the file `named`."""
    pyarrow, parquet = _pyarrow()
    schema, count, writer = None, 0, None
    try:
        while batch := [without_nulls(row) for row in islice(rows, BATCH)]:
            try:
                # One schema for the whole file: Parquet cannot change it, so the first batch decides.
                schema = schema or _schema(pyarrow, batch)
                table = pyarrow.Table.from_pylist(batch, schema=schema)
            except (pyarrow.ArrowException, UnicodeError) as error:
                raise DataError(f"rows {count + 1} on do not fit one table: {error}", file=named) from error
            _check_kept(batch, table.to_pylist(), named, count)
            writer = writer or parquet.ParquetWriter(path, schema)
            writer.write_table(table)
            count += len(batch)
    finally:
        if writer:
            writer.close()
    if not writer:
        raise DataError("no rows to write, so no columns: Parquet needs one row or more", file=named)
    return count


def _schema(pyarrow: Any, batch: list[dict[str, Any]]) -> Any:
    """The schema: columns of the format have fixed types, others have the type of their values."""
    columns = list(dict.fromkeys(key for row in batch for key in row))
    return pyarrow.schema([(column, _type(pyarrow, column, batch)) for column in columns])


def _type(pyarrow: Any, column: str, batch: list[dict[str, Any]]) -> Any:
    values = [row[column] for row in batch if column in row]
    if column == DIRECTIONS:
        return pyarrow.list_(pyarrow.float64())
    if column not in ITEMS:
        return pyarrow.array(values).type
    items = [item for value in values for item in value]
    # Without an item in the first rows nothing tells what later ones hold: directions are allowed for them.
    used = {key for item in items for key in item} or {DIRECTIONS}
    texts = [key for key in (*ITEMS[column], "created") if key in ITEMS[column] or key in used]
    fields = [(key, pyarrow.string()) for key in texts]
    fields += [(DIRECTIONS, pyarrow.list_(pyarrow.float64()))] if DIRECTIONS in used else []
    return pyarrow.list_(pyarrow.struct(fields))


def _check_kept(batch: list[dict[str, Any]], table: list[dict[str, Any]], named: Path, before: int) -> None:
    """Raises `DataError` if a value was lost, because Arrow silently leaves out keys that the schema lacks."""
    for number, (row, kept) in enumerate(zip(batch, table, strict=True), start=before + 1):
        read = without_nulls(kept)
        for key, value in row.items():
            if read.get(key) != value:
                problem = f"Parquet cannot hold it beside the first {BATCH} rows; write .jsonl"
                raise DataError(problem, file=named, row=number, key=key)
