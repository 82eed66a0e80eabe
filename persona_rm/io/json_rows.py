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
import tempfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, TextIO, TypeVar, cast

from persona_rm.errors import BrokenFile, DataError, MissingExtra

OnBad = Callable[[DataError], None]
T = TypeVar("T")
CHUNK = 1 << 20
PIECE = 1 << 14
"""Bytes of a compressed file that are decompressed at a time."""
WINDOW = 1 << 31
"""The largest zstd window that is accepted. The dumps of Pushshift need it."""
BREAKS = (OSError, EOFError, zlib.error)
"""The exceptions of reading a file that is cut or damaged."""
UTF_16 = ("\udcff\udcfe", "\udcfe\udcff")
"""The byte order marks of UTF-16, as `_open` decodes them."""
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
        if isinstance(value, str) and not _encodable(value):
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
        return [self._child(item, f"{key}[{place}]") for place, item in enumerate(self.nullable(key, list) or [])]

    def _child(self, item: Any, key: str) -> "JsonRow":
        if not isinstance(item, dict):
            raise self.error(f"must be an object, found {item!r}"[:200], key)
        return JsonRow(item, self.file, self.number, f"{self.prefix}{key}.")


def _encodable(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def report(error: DataError, on_bad: OnBad | None) -> None:
    """Pass the error to `on_bad`, or raise it if there is no `on_bad`."""
    if on_bad is None:
        raise error
    on_bad(error)


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
    """The objects of a JSON array or of JSON lines, compressed or not. The first character tells which."""
    file = need_file(Path(path))
    try:
        with _open(file) as stream:
            # Character by character: white space before the first one may be longer than any buffer.
            every = iter(lambda: stream.read(1), "")
            first = next((character for character in every if not character.isspace()), "")
            start = first + stream.read(1)
    except BREAKS as error:
        raise DataError(f"cannot be read: {error}", file=file) from error
    if not first:
        raise DataError("the file is empty", file=file)
    if start in UTF_16:
        raise DataError("not UTF-8 but UTF-16; save it as UTF-8", file=file)
    return _guarded(file, _read_array if first == "[" else _read_lines, on_bad)


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


def open_binary(path: Path) -> io.BufferedIOBase:
    """A file's bytes, decompressed if its suffix is .gz, .bz2, .xz or .zst. Reading may raise one of `BREAKS`."""
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    if start := UNPACKERS.get(path.suffix):
        return io.BufferedReader(_Unpacked(path, start), CHUNK)
    return path.open("rb")


class _Unpacked(io.RawIOBase):
    """The bytes of a file of one or more compressed streams. `start` makes a decoder and names its exception."""

    def __init__(self, path: Path, start: Callable[[], tuple[Any, type[Exception]]]) -> None:
        self.stream, self.start = path.open("rb"), start
        self.decoder: Any = None
        self.failure: type[Exception] = OSError
        self.packed, self.ready = b"", memoryview(b"")

    def readable(self) -> bool:
        """True: `io.RawIOBase` asks."""
        return True

    def close(self) -> None:
        """Close the compressed file too."""
        self.stream.close()
        super().close()

    def readinto(self, target: Any) -> int:
        """Fill `target` with the bytes that are ready. Returns their number, 0 at the end of the file."""
        while not self.ready and self._more():
            continue
        size = min(len(target), len(self.ready))
        target[:size], self.ready = self.ready[:size], self.ready[size:]
        return size

    def _more(self) -> bool:
        """Decompress the next piece. False at the end of the file. Raises EOFError if a stream is not closed there."""
        packed, self.packed = self.packed or self.stream.read(PIECE), b""
        if not packed and self.decoder:
            raise EOFError("the packed stream ended before its end-of-stream marker")
        if not packed:
            return False
        if not self.decoder:
            packed = packed.lstrip(b"\0")  # .xz allows zeros between streams
            if not packed:
                return True
            self.decoder, self.failure = self.start()
        try:
            self.ready = memoryview(self.decoder.decompress(packed))
        except self.failure as error:
            raise OSError(str(error)) from error
        # Several compressed streams may follow one another in a file, as parallel compressors write them.
        if self.decoder.eof:
            self.packed, self.decoder = self.decoder.unused_data, None
        return True


def _bz2() -> tuple[Any, type[Exception]]:
    from bz2 import BZ2Decompressor

    return BZ2Decompressor(), OSError


def _xz() -> tuple[Any, type[Exception]]:
    from lzma import LZMADecompressor, LZMAError

    return LZMADecompressor(), LZMAError


def _zst() -> tuple[Any, type[Exception]]:
    try:
        from zstandard import ZstdDecompressor, ZstdError
    except ImportError as error:
        raise MissingExtra(".zst needs zstandard: pip install persona_rm[data]") from error
    return ZstdDecompressor(max_window_size=WINDOW).decompressobj(), ZstdError


UNPACKERS = {".bz2": _bz2, ".xz": _xz, ".zst": _zst}


def _read_lines(stream: TextIO, file: str, on_bad: OnBad | None) -> Iterator[JsonRow]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            report(DataError(f"not JSON: {error} (is the line cut?)", file=file, row=number), on_bad)
            continue
        if row := _row(value, file, number, on_bad):
            yield row


def _read_array(stream: TextIO, file: str, on_bad: OnBad | None) -> Iterator[JsonRow]:
    """The elements, decoded one at a time. Only the text that is not decoded yet is in memory."""
    decoder, pieces = json.JSONDecoder(), _Pieces(stream.buffer)
    # Without the opening bracket, so that the text begins with an element or with the closing one.
    text, number = pieces.read(CHUNK).lstrip()[1:].lstrip(), 1
    while not text.startswith("]"):
        try:
            value, end = decoder.raw_decode(text)
        except (ValueError, RecursionError) as error:
            # Decoding starts again at the element's first character, so the text at least doubles: the work stays
            # linear.
            more = pieces.read(max(CHUNK, len(text)))
            if not more:
                report(BrokenFile(f"not JSON: {error} (is the array cut?)", file=file, row=number), on_bad)
                return
            text = (text + more).lstrip()
            continue
        if row := _row(value, file, number, on_bad):
            yield row
        text = _after(text[end:], pieces)
        number += 1


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
