"""The rows of a CSV file with a header. The separator (comma, semicolon, tab or bar) is recognised by the header."""

import csv
import io
import sys
from collections.abc import Iterator
from pathlib import Path

from persona_rm.errors import DataError
from persona_rm.io.json_rows import BREAKS, JsonRow, OnBad, open_binary, report

SEPARATORS = ",;\t|"


def separator_of(line: str) -> str:
    """The separator that cuts the header into most columns."""
    return max(SEPARATORS, key=lambda separator: len(_cells(line, separator)))


def header_of(start: bytes) -> list[str]:
    """The columns that the first line of a text names."""
    line = start.decode("utf-8", "surrogateescape").lstrip().split("\n", 1)[0].rstrip("\r")
    return _cells(line, separator_of(line))


def _cells(line: str, separator: str) -> list[str]:
    return [cell.strip() for cell in next(csv.reader([line], delimiter=separator), [])]


def read_csv(path: Path, on_bad: OnBad | None = None) -> Iterator[JsonRow]:
    """Every row; all values are text. A row with more or fewer cells than the header goes to `on_bad`, or is raised.

    Raises `DataError` if a column is named twice. Bytes that are not UTF-8 become lone surrogates.
    """
    # The module's own limit of 131,072 characters would refuse the row of a long text. It cannot be set per reader.
    csv.field_size_limit(sys.maxsize)
    with io.TextIOWrapper(open_binary(path), "utf-8-sig", "surrogateescape", newline="") as stream:  # type: ignore[type-var]
        first = stream.readline()
        columns = _cells(first.rstrip("\r\n"), separator_of(first))
        twice = next((name for place, name in enumerate(columns) if name and name in columns[:place]), None)
        if twice is not None:
            raise DataError("the header names this column twice", file=path, row=1, key=twice)
        yield from _rows(path, csv.reader(stream, delimiter=separator_of(first), strict=True), columns, on_bad)


def _rows(path: Path, lines: Iterator[list[str]], columns: list[str], on_bad: OnBad | None) -> Iterator[JsonRow]:
    number = 1
    while True:
        number += 1
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            report(DataError(f"not CSV: {error} (is a quote missing or not doubled?)", file=path, row=number), on_bad)
            continue
        except BREAKS as error:
            report(DataError(f"the file breaks off here: {error}", file=path, row=number), on_bad)
            return
        if len(cells) == len(columns):
            yield JsonRow(dict(zip(columns, cells, strict=True)), str(path), number)
        elif cells:
            problem = f"{len(cells)} cells, the header names {len(columns)} columns"
            report(DataError(problem, file=path, row=number), on_bad)
