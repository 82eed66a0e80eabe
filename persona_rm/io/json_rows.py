"""Reads rows of JSON files one by one and writes files whole or not at all. Errors name file, row and key.

The error of a row that cannot be read is passed to `on_bad`, and reading goes on; without `on_bad` it is raised. Rows
are counted from 1.
"""

import codecs
import gzip
import hashlib
import io
import json
import os
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeVar, cast

from persona_rm.errors import BrokenFile, DataError
from persona_rm.io.file_kinds import SNIFFED, check_packing, other_kind, table_kind
from persona_rm.io.text import is_sound
from persona_rm.io.unpacked import BREAKS, CHUNK, open_binary

OnBad = Callable[[DataError], None]
T = TypeVar("T")
LONGEST_ROW = 1 << 25
"""Characters of the longest row. What is longer is no row, and would fill the memory."""
BOM = "\ufeff"
"""A byte order mark. It also stands before lines: files that begin with one are joined into larger ones."""
TOKEN = re.compile(r'"(?:[^"\\]++|\\.)*+"|[\[\]{},]', re.DOTALL)
"""A text or a bracket: what tells where an element of an array ends."""
KINDS = {str: "text", int: "a whole number", list: "a list", dict: "an object"}


@dataclass(frozen=True, slots=True)
class JsonRow:
    """A JSON object and its place in a file. Its methods raise `DataError` with file, row and key."""

    data: Mapping[str, Any]
    file: str
    number: int
    prefix: str = ""

    def error(self, problem: str, key: str) -> DataError:
        """The error of this row at `key`."""
        return DataError(problem, file=self.file, row=self.number, key=self.prefix + key)

    def optional(self, key: str, kind: type[T]) -> T | None:
        """The value at `key`, None if the key is absent. Raises `DataError` if it has another type."""
        if key not in self.data:
            return None
        value = self.data[key]
        # A bool is an int in Python, but true is no number in JSON.
        if not isinstance(value, kind) or isinstance(value, bool):
            raise self.error(f"must be {KINDS[kind]}, found {value!r}"[:200], key)
        if isinstance(value, str) and not is_sound(value):
            raise self.error("not UTF-8: holds bytes or half a character that no text can hold", key)
        return value

    def required(self, key: str, kind: type[T]) -> T:
        """The value at `key`. Raises `DataError` if it is absent or has another type."""
        value = self.optional(key, kind)
        if value is None:
            raise self.error(f"missing; the row has: {', '.join(self.data) or 'nothing'}", key)
        return value

    def text(self, key: str) -> str:
        """The text at `key`."""
        return self.required(key, str)

    def nullable(self, key: str, kind: type[T]) -> T | None:
        """Like `optional`, for formats that also write null for an absent value."""
        return None if self.data.get(key) is None else self.optional(key, kind)

    def children(self, key: str) -> list["JsonRow"]:
        """The objects of the list at `key`, each as a row; none if the key is absent or null."""
        return [self.child(item, f"{key}[{place}]") for place, item in enumerate(self.nullable(key, list) or [])]

    def child(self, item: Any, key: str) -> "JsonRow":
        """An object inside this row, at `key`. Raises `DataError` for anything else."""
        if not isinstance(item, dict):
            raise self.error(f"must be an object, found {item!r}"[:200], key)
        return JsonRow(item, self.file, self.number, f"{self.prefix}{key}.")


def report(error: DataError, on_bad: OnBad | None) -> None:
    """Pass the error to `on_bad`, or raise it if there is no `on_bad`."""
    if on_bad is None:
        raise error
    on_bad(error)


def report_parts(errors: Sequence[DataError], on_bad: OnBad, *, kept: bool) -> None:
    """Pass on what is wrong with parts of a row. If nothing else of it was kept, the row is bad: raises the first."""
    if errors and not kept:
        raise errors[0]
    for problem in errors:
        on_bad(problem)


def need_file(path: Path) -> Path:
    """The path. Raises `DataError` if there is no such file or it is empty."""
    if not path.is_file():
        beside = sorted(file.name for file in path.parent.glob("*"))[:10] if path.parent.is_dir() else []
        folder = f"its folder holds: {', '.join(beside) or 'nothing'}" if path.parent.is_dir() else "nor its folder"
        raise DataError(f"no such file ({folder})", file=path)
    if path.stat().st_size == 0:
        raise DataError("the file is empty", file=path)
    return path


def read_rows(path: str | Path, on_bad: OnBad | None = None) -> Iterator[JsonRow]:
    """The objects of a JSON array or of JSON lines, compressed or not. The first character tells which.

    Raises `DataError` at once for a file that is missing, empty, or of another kind; the message names the kind.
    """
    file = need_file(Path(path))
    try:
        first = _first_character(file)
    except BREAKS as error:
        raise DataError(f"cannot be read: {error}", file=file) from error
    if not first:
        raise DataError("the file is empty", file=file)
    return _guarded(file, _read_array if first == "[" else _read_lines, on_bad)


def _first_character(file: Path) -> str:
    """The first character that is no white space; "" without one. Raises `DataError` for a file of another kind."""
    check_packing(file)
    with open_binary(file) as packed:
        start = packed.read1(SNIFFED)
    if kind := other_kind(start):
        raise DataError(f"it is {kind}", file=file)
    if table := table_kind(start):
        raise DataError(f"its content is {table[0]}; rename it to end in {table[1]}", file=file)
    if text := start.removeprefix(codecs.BOM_UTF8).lstrip():
        return chr(text[0])
    with _open(file) as stream:
        # White space before the first character may be longer than any buffer.
        return next(filter(None, map(str.lstrip, iter(lambda: stream.read(CHUNK), ""))), "")[:1]


def _guarded(file: Path, read: Callable[..., Iterator[JsonRow]], on_bad: OnBad | None) -> Iterator[JsonRow]:
    """The rows up to the place at which the file is cut or damaged."""
    number = 0
    with _open(file) as stream:
        try:
            for row in read(stream, str(file), on_bad):
                number = row.number
                yield row
        except BREAKS as error:
            report(BrokenFile(f"the file breaks off here: {error}", file=file, row=number + 1), on_bad)


def _open(path: Path) -> TextIO:
    """The file as text. Bytes that are not UTF-8 become lone surrogates, so that only their row is bad."""
    # Lines end with \n only, so that a lone \r does not part a row. "-sig" skips a byte order mark.
    packed = cast(BinaryIO, open_binary(path))
    return io.TextIOWrapper(packed, encoding="utf-8-sig", errors="surrogateescape", newline="\n")


def _read_lines(stream: TextIO, file: str, on_bad: OnBad | None) -> Iterator[JsonRow]:
    for number, line in enumerate(iter(lambda: stream.readline(LONGEST_ROW), ""), start=1):
        if len(line) == LONGEST_ROW and not line.endswith("\n"):
            size = len(line) + _rest_of_line(stream)
            report(_too_long(size, file, number), on_bad)
            continue
        text = line.lstrip(BOM) if line.startswith(BOM) else line
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            report(DataError(f"not JSON: {error} (is the line cut?)", file=file, row=number), on_bad)
            continue
        if row := _row(value, file, number, on_bad):
            yield row


def _rest_of_line(stream: TextIO) -> int:
    """Reads up to the end of the line, and returns how many characters that were."""
    size = 0
    while more := stream.readline(CHUNK):
        size += len(more)
        if more.endswith("\n"):
            break
    return size


def _too_long(size: int, file: str, row: int) -> DataError:
    problem = f"the row has {size:,} characters or more; at most {LONGEST_ROW:,} are read"
    return DataError(problem, file=file, row=row)


def _read_array(stream: TextIO, file: str, on_bad: OnBad | None) -> Iterator[JsonRow]:
    """The elements, decoded one at a time. Only the text that is not decoded yet is in memory.

    An element that is no JSON costs itself, if its brackets and quotes are closed.
    """
    decoder, pieces = json.JSONDecoder(), _Pieces(stream.buffer)
    # Without the opening bracket, so that the text begins with an element or with the closing one.
    text, number = _first(pieces)[1:].lstrip(), 1
    while not text.startswith("]"):
        try:
            value, end = decoder.raw_decode(text)
        except (ValueError, RecursionError) as error:
            problem = DataError(f"not JSON: {error}"[:200], file=file, row=number)
            if len(text) > LONGEST_ROW:
                report(BrokenFile(_too_long(len(text), file, number).problem, file=file, row=number), on_bad)
                return
            # Only what may be cut is read on: a whole element that is bad stays bad.
            end = _end_of_element(text)
            if not end:
                # Decoding starts again at the element's first character, so the text at least doubles: the work stays
                # linear.
                more = pieces.read(max(CHUNK, len(text)))
                if not more:
                    report(BrokenFile(f"{problem.problem} (is the array cut?)", file=file, row=number), on_bad)
                    return
                text = (text + more).lstrip()
                continue
            report(problem, on_bad)
        else:
            if row := _row(value, file, number, on_bad):
                yield row
        text = _after(text[end:], pieces)
        number += 1


def _first(pieces: "_Pieces") -> str:
    """The text from the first character that is no white space on."""
    while more := pieces.read(CHUNK):
        if text := more.lstrip():
            return text
    return ""


def _end_of_element(text: str) -> int:
    """Where the element at the beginning of `text` ends, by its brackets; 0 if it is no object, or goes on."""
    if not text.startswith("{"):
        return 0
    depth = 0
    for token in TOKEN.finditer(text):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        if depth == 0:
            # The next element must follow, or the brackets are not what they seem.
            after = text[token.end() : token.end() + 64].lstrip()
            return token.end() if after[:1] in (",", "]") else 0
    return 0


class _Pieces:
    """The text of a file. If the file breaks off, the text before that comes first and the next read raises."""

    def __init__(self, stream: Any) -> None:
        self.stream, self.failure = stream, cast("Exception | None", None)
        self.decoder = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape")

    def read(self, size: int) -> str:
        """The text of at most `size` bytes; "" at the end."""
        if self.failure:
            raise self.failure
        data = bytearray()
        try:
            # `read1` returns what it has, so the text before a break is not lost with it.
            while len(data) < size and (more := self.stream.read1(size - len(data))):
                data += more
        except BREAKS as error:
            self.failure = error
            if not data:
                raise
        return self.decoder.decode(data, final=not data)


def _after(text: str, stream: _Pieces) -> str:
    """The text behind the comma after an element, or from the closing bracket on.

    Any other text gets a NUL in front, which no JSON value starts with, so that decoding it fails.
    """
    while not (text := text.lstrip()) and (more := stream.read(CHUNK)):
        text = more
    return text[1:].lstrip() if text.startswith(",") else text if text.startswith("]") else f"\0{text}"


def _row(value: Any, file: str, number: int, on_bad: OnBad | None) -> JsonRow | None:
    if isinstance(value, dict):
        return JsonRow(value, file, number)
    report(DataError(f"must be a JSON object, found {value!r}"[:200], file=file, row=number), on_bad)
    return None


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`. It is renamed to `path` after the block, or removed if the block raises."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # In the same folder, because a rename works within one file system only.
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # `mkstemp` lets only this user read the file. A file that is replaced keeps its rights.
        temporary.chmod(path.stat().st_mode & 0o777 if path.is_file() else 0o644)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def open_atomic(path: Path) -> Iterator[BinaryIO]:
    """`path` for writing, whole or not at all. It is compressed if its name ends in .gz; same rows give same bytes."""
    with atomic(path) as temporary, temporary.open("wb") as stream:
        if path.suffix != ".gz":
            yield stream
            return
        # Without a name and a time in the header, which would make equal rows different bytes.
        with gzip.GzipFile(filename="", mode="wb", fileobj=stream, mtime=0) as packed:
            yield cast(BinaryIO, packed)


def content_hash(path: Path) -> str:
    """The sha256 of a file's bytes. It is cached until the size or the time of the file changes."""
    state = need_file(path).stat()
    # Size and time are arguments of the cached function, so a changed file is hashed again.
    return _hash(path.resolve(), state.st_size, state.st_mtime_ns)


@cache
def _hash(path: Path, _size: int, _changed: int) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
