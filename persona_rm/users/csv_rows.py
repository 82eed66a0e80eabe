"""The rows of a CSV file with a header. The separator (comma, semicolon, tab or bar) is recognised by the header.

Spreadsheets and databases write more than rows: a byte order mark, empty lines, a line `sep=;`, line ends of `\\r`, a
header with a line break in a quoted name. All of it is read.
"""

import csv
import io
import re
import sys
from collections import deque
from collections.abc import Iterator
from pathlib import Path

from persona_rm.errors import BrokenFile, DataError
from persona_rm.io.json_rows import LONGEST_ROW, JsonRow, OnBad, report
from persona_rm.io.text import is_sound
from persona_rm.io.unpacked import BREAKS, CHUNK, open_binary

SEPARATORS = ",;\t|"
HEADER_LINES = 20
"""The largest number of further lines of a header with line breaks."""
TOLD_SEPARATOR = re.compile(r"sep=(.)\r?\n?")
"""The first line by which Excel tells the separator."""


def header_of(start: bytes) -> list[str]:
    """The columns that the header in the first bytes of a file names."""
    return _header(_Lines(io.StringIO(start.decode("utf-8", "surrogateescape"), newline="")))[0]


def read_csv(path: Path, on_bad: OnBad | None = None) -> Iterator[JsonRow]:
    """Every row; all values are text. A row with more or fewer cells than the header goes to `on_bad`, or is raised.

    Raises `DataError` if a column is named twice, or if a name is not UTF-8. Bytes in a row that are not UTF-8 become
    lone surrogates.
    """
    with io.TextIOWrapper(open_binary(path), "utf-8-sig", "surrogateescape", newline="") as stream:  # type: ignore[type-var]
        lines = _Lines(stream)
        columns, separator = _header(lines)
        for place, name in enumerate(columns):
            if name and name in columns[:place]:
                raise DataError("the header names this column twice", file=path, row=1, key=name)
            if not is_sound(name):
                problem = "the header is not UTF-8; convert the file: iconv -f windows-1252 -t utf-8 FILE > NEW"
                raise DataError(problem, file=path, row=1)
        yield from _rows(path, lines, separator, columns, on_bad)


class _TooLong(Exception):
    """A record has more than `LONGEST_ROW` characters."""


class _Lines:
    """The lines of a stream, ended by \\n, \\r\\n or \\r. Those of the record that is being read are kept."""

    def __init__(self, stream: io.TextIOBase) -> None:
        self._stream = stream
        self._ready: deque[str] = deque()
        self.record: list[str] = []
        self._size = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._ready.popleft() if self._ready else self._stream.readline(LONGEST_ROW)
        if not line:
            raise StopIteration
        self._size += len(line)
        if self._size > LONGEST_ROW or (len(line) == LONGEST_ROW and not line.endswith(("\n", "\r"))):
            # The rest of the line too, so that reading goes on with the next one.
            while line and not line.endswith(("\n", "\r")):
                line = self._stream.readline(CHUNK)
            raise _TooLong
        self.record.append(line)
        return line

    def begin(self) -> None:
        """A new record begins with the next line."""
        self.record, self._size = [], 0

    def again(self, place: int) -> None:
        """The record ended before its line `place`: this and the following lines are read again."""
        self._ready.extendleft(reversed(self.record[place:]))


def _header(lines: _Lines) -> tuple[list[str], str]:
    """The columns and the separator. Empty lines in front are skipped."""
    first = next((line for line in lines if line.strip()), "")
    told = TOLD_SEPARATOR.fullmatch(first)
    if told:
        first = next(lines, "")
    lines.begin()
    text = first
    # A quoted name may hold a line break; a quote that is never closed is none.
    while text.count('"') % 2 and len(lines.record) < HEADER_LINES and (more := next(lines, "")):
        text += more
    if text.count('"') % 2:
        lines.again(0)
        text = first
    separator = told[1] if told else max(SEPARATORS, key=lambda one: len(_cells(text, one)))
    return _cells(text, separator), separator


def _cells(text: str, separator: str) -> list[str]:
    try:
        return [cell.strip() for cell in next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])]
    except csv.Error:
        return []


def _rows(path: Path, lines: _Lines, separator: str, columns: list[str], on_bad: OnBad | None) -> Iterator[JsonRow]:
    # The module's own limit of 131,072 characters would refuse the row of a long text. It cannot be set per reader.
    csv.field_size_limit(sys.maxsize)
    number = 1
    while True:
        number += 1
        lines.begin()
        try:
            cells = next(csv.reader(lines, delimiter=separator, strict=True))
        except StopIteration:
            return
        except _TooLong:
            problem = f"the row has more than {LONGEST_ROW:,} characters (is a quote missing?)"
        except csv.Error as error:
            problem = f"not CSV: {error} (is a quote missing or not doubled?)"
        except BREAKS as error:
            report(BrokenFile(f"the file breaks off here: {error}", file=path, row=number), on_bad)
            return
        else:
            if len(cells) == len(columns):
                yield JsonRow(dict(zip(columns, cells, strict=True)), str(path), number)
                continue
            problem = f"{len(cells)} cells, the header names {len(columns)} columns" if cells else ""
        if problem:
            _give_back(lines, separator, len(columns))
            report(DataError(problem, file=path, row=number), on_bad)


def _give_back(lines: _Lines, separator: str, width: int) -> None:
    """A quote that is never closed takes the rows behind it along: from the first line that is a row, read again."""
    for place, line in enumerate(lines.record[1:], start=1):
        try:
            cells = next(csv.reader([line], delimiter=separator, strict=True), [])
        except csv.Error:
            continue
        # An odd quote closes the cell that the record began.
        if len(cells) == width and line.count('"') % 2 == 0:
            lines.again(place)
            return
