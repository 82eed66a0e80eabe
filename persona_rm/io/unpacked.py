"""The bytes of packed files (.gz, .bz2, .xz, .zst), in bounded memory whatever a file unpacks to.

A few bytes of a packed file may stand for gigabytes. So a piece is unpacked in parts of at most some megabytes, and a
file that unpacks to far more than any text does is given up.
"""

import io
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from persona_rm.errors import MissingExtra

CHUNK = 1 << 20
"""Bytes that are unpacked at a time."""
PIECE = 1 << 14
"""Bytes of a packed file that are read at a time."""
ZST_PIECE = 1 << 8
"""The same for .zst, whose library unpacks all it is given: four of its bytes may stand for 128 KiB."""
WINDOW = 1 << 31
"""The largest zstd window that is accepted. The dumps of Pushshift need it."""
BREAKS = (OSError, EOFError, zlib.error)
"""The exceptions of reading a file that is cut or damaged."""
LARGEST_RATIO = 1000
"""Times its own size to which a file of text may unpack; forum texts reach 20."""
FREE = 1 << 28
"""Bytes up to which a file may unpack whatever its own size is."""


class _Decoder(Protocol):
    """One compressed stream. `eof`: it has ended, and `unused_data` stands behind it."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, packed: bytes) -> bytes:
        """The next part of what stands behind the bytes so far."""

    @property
    def waiting(self) -> bool:
        """True if what it was given may hold more, so that it is to be asked with nothing new."""


class _Packing(NamedTuple):
    """How one kind of packed file is read."""

    start: Callable[[], _Decoder]
    failures: tuple[type[Exception], ...]
    piece: int = PIECE


def open_binary(path: Path) -> io.BufferedIOBase:
    """A file's bytes, decompressed if its suffix is .gz, .bz2, .xz or .zst. Reading may raise one of `BREAKS`.

    Raises MissingExtra if the package for .zst is not installed.
    """
    if make := PACKINGS.get(path.suffix):
        return io.BufferedReader(_Unpacked(path, make()), CHUNK)
    return path.open("rb")


class _Unpacked(io.RawIOBase):
    """The bytes of a file of one or more compressed streams."""

    def __init__(self, path: Path, packing: _Packing) -> None:
        self.stream, self.packing = path.open("rb"), packing
        self.decoder: _Decoder | None = None
        self.packed, self.ready = b"", memoryview(b"")
        self.size, self.given_out = path.stat().st_size, 0

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
        waiting = self.decoder is not None and self.decoder.waiting
        packed = b"" if waiting else self._next_packed()
        if not packed and not waiting:
            if self.decoder:
                raise EOFError("the packed stream ended before its end-of-stream marker")
            return False
        if not self.decoder:
            packed = packed.lstrip(b"\0")  # .xz allows zeros between streams, and tapes end in them
            if not packed:
                return True
            self.decoder = self.packing.start()
        try:
            self.ready = memoryview(self.decoder.decompress(packed))
        except self.packing.failures as error:
            raise OSError(str(error)) from error
        self._check_size()
        # Several compressed streams may follow one another in a file, as parallel compressors write them.
        if self.decoder.eof:
            self.packed, self.decoder = self.decoder.unused_data + self.packed, None
        return True

    def _next_packed(self) -> bytes:
        if not self.packed:
            self.packed = self.stream.read(PIECE)
        piece, self.packed = self.packed[: self.packing.piece], self.packed[self.packing.piece :]
        return piece

    def _check_size(self) -> None:
        self.given_out += len(self.ready)
        if self.given_out > max(FREE, LARGEST_RATIO * self.size):
            self.ready = memoryview(b"")
            raise OSError(
                f"it unpacks to more than {LARGEST_RATIO:,} times its size ({self.given_out:,} bytes of "
                f"{self.size:,}), which no text does, and is not read further"
            )


class _Gz:
    """A stream of gzip. What is left of a piece whose output was large is kept."""

    def __init__(self) -> None:
        self.decoder = zlib.decompressobj(16 + zlib.MAX_WBITS)

    @property
    def eof(self) -> bool:
        return self.decoder.eof

    @property
    def unused_data(self) -> bytes:
        return self.decoder.unused_data

    @property
    def waiting(self) -> bool:
        return bool(self.decoder.unconsumed_tail)

    def decompress(self, packed: bytes) -> bytes:
        return self.decoder.decompress(self.decoder.unconsumed_tail + packed, CHUNK)


class _Bounded:
    """A decoder of the standard library that takes the greatest length of its output (bz2, lzma)."""

    def __init__(self, decoder: Any) -> None:
        self.decoder = decoder
        self.waiting = False

    @property
    def eof(self) -> bool:
        return bool(self.decoder.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self.decoder.unused_data)

    def decompress(self, packed: bytes) -> bytes:
        data: bytes = self.decoder.decompress(packed, CHUNK)
        self.waiting = not self.decoder.eof and not self.decoder.needs_input
        return data


class _Zst:
    """A frame of zstd; what one piece unpacks to is bounded by the size of the piece."""

    waiting = False

    def __init__(self, decoder: Any) -> None:
        self.decoder = decoder

    @property
    def eof(self) -> bool:
        return bool(self.decoder.eof)

    @property
    def unused_data(self) -> bytes:
        return bytes(self.decoder.unused_data)

    def decompress(self, packed: bytes) -> bytes:
        data: bytes = self.decoder.decompress(packed)
        return data


def _gz() -> _Packing:
    return _Packing(_Gz, (zlib.error,))


def _bz2() -> _Packing:
    from bz2 import BZ2Decompressor

    return _Packing(lambda: _Bounded(BZ2Decompressor()), (OSError, ValueError))


def _xz() -> _Packing:
    from lzma import LZMADecompressor, LZMAError

    # A header may ask for gigabytes of memory.
    return _Packing(lambda: _Bounded(LZMADecompressor(memlimit=1 << 30)), (LZMAError, MemoryError))


def _zst() -> _Packing:
    try:
        from zstandard import ZstdDecompressor, ZstdError
    except ImportError as error:
        raise MissingExtra(".zst needs zstandard: pip install persona_rm[data]") from error
    decompressor = ZstdDecompressor(max_window_size=WINDOW)
    return _Packing(lambda: _Zst(decompressor.decompressobj()), (ZstdError, MemoryError), ZST_PIECE)


PACKINGS = {".gz": _gz, ".bz2": _bz2, ".xz": _xz, ".zst": _zst}
