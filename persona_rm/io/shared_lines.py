"""Files of lines that one process rewrites while others append to them, such as a reward log that a user leaves.

A lock of the operating system on the file orders both. A rewritten file replaces the old one, so the holder of the
lock checks that it still has the file that the path names.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from persona_rm.io.json_rows import atomic


@contextmanager
def _locked(path: Path, mode: str) -> Iterator[BinaryIO]:
    """The file under an exclusive lock, opened again if it was replaced before the lock was had."""
    while True:
        with path.open(mode, buffering=0) as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(path, file.fileno()):
                yield file  # type: ignore[misc]
                return


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def append_line(path: Path, line: str) -> None:
    """Add a line whole or not at all: on a full disk a part of it would spoil the line that follows.

    Raises `OSError` if there is no room.
    """
    whole = f"{line}\n".encode()
    with _locked(path, "ab") as file:
        before = file.seek(0, os.SEEK_END)
        try:
            if file.write(whole) != len(whole):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        except OSError:
            # What cannot be cut off stays; the error to report is the one of the write.
            with suppress(OSError):
                file.truncate(before)
            raise


def rewrite_lines(path: Path, change: Callable[[bytes], bytes | None]) -> int:
    """Replace each line by `change` of it, None drops it; returns how many lines differ. A file in which none does
    stays as it is."""
    with _locked(path, "rb") as held:
        differing = sum(change(line) != line for line in _lines(held))
        if differing:
            held.seek(0)
            with atomic(path) as temporary, temporary.open("wb") as out:
                out.writelines(new for line in _lines(held) if (new := change(line)) is not None)
    return differing


def _lines(held: BinaryIO) -> Iterator[bytes]:
    with os.fdopen(os.dup(held.fileno()), "rb") as lines:
        yield from lines
