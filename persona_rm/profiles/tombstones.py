"""The tombstones beside a snapshot: JSON lines with a hash and a date. Lines are only appended; the last one counts.

    {"sha256": "9f86...", "erased": "2026-11-22"}
    {"sha256": "9f86...", "readmitted": "2026-11-30"}

A lock of the operating system keeps readers from a half-written line and writers from each other.
"""

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from datetime import date
from pathlib import Path

from persona_rm.errors import DataError

HASH = re.compile(r"[0-9a-f]{64}")
Changed = tuple[int, int, int]
NEVER: Changed = (0, 0, 0)
ERASED, READMITTED = "erased", "readmitted"


def sha256_of(user_id: str) -> str:
    """The hash of any id, also of one that a store refuses because UTF-8 cannot write it."""
    return hashlib.sha256(user_id.encode("utf-8", "surrogatepass")).hexdigest()


class Tombstones:
    """The tombstones of one file, which is read again if it changed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen, self._dates = NEVER, dict[str, str]()

    def dates(self) -> Mapping[str, str]:
        """The ISO date by sha256 of users who are erased now. Raises `DataError` if the file is broken."""
        # Taken before the file is read: a change during the reading is seen at the next call.
        changed = self._changed()
        if changed != self._seen:
            self._dates = self._read() if changed != NEVER else {}
            self._seen = changed
        return self._dates

    def add(self, erased: Mapping[str, str]) -> None:
        """Add tombstones (ISO date by sha256). An existing one keeps its date."""
        self._append({key: when for key, when in erased.items() if key not in self.dates()}, ERASED)

    def lift(self, sha256s: Iterable[str], when: str) -> None:
        """Readmit those of `sha256s` that have a tombstone."""
        self._append({key: when for key in sha256s if key in self.dates()}, READMITTED)

    def _changed(self) -> Changed:
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return NEVER
        # The size too, because two appends within one tick of the file system's clock have the same time.
        return status.st_ino, status.st_size, status.st_mtime_ns

    def _read(self) -> dict[str, str]:
        with self.path.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH)
            text = stream.read()
        dates: dict[str, str] = {}
        for number, line in enumerate(text.splitlines(), start=1):
            sha256, what, when = self._line(line, number)
            if what == ERASED:
                # Two writers may add the same user; the first date counts.
                dates.setdefault(sha256, when)
            else:
                dates.pop(sha256, None)
        return dates

    def _line(self, line: bytes, number: int) -> tuple[str, str, str]:
        if known := _known(line):
            return known
        problem = "not a tombstone, so the file may lack users who were erased: repair or restore it"
        raise DataError(problem, file=self.path, row=number)

    def _append(self, entries: Mapping[str, str], what: str) -> None:
        if not entries:
            return
        text = "".join(json.dumps({"sha256": key, what: when}) + "\n" for key, when in entries.items())
        with self.path.open("a+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX)
            # A writer that was killed may have left a line without its end, which the next line must not join.
            if stream.seek(0, os.SEEK_END) and stream.seek(-1, os.SEEK_END) and stream.read() != b"\n":
                stream.write(b"\n")
            stream.write(text.encode())
            stream.flush()
            # Durable before the caller is told that the user is erased.
            os.fsync(stream.fileno())


def _known(line: bytes) -> tuple[str, str, str] | None:
    """(sha256, what, date) of a line, None if it is no tombstone."""
    try:
        data = json.loads(line)
    except ValueError:
        return None
    if not isinstance(data, dict) or len(data) != 2:
        return None
    # One key is left, and its name says what happened.
    sha256, what = str(data.pop("sha256", "")), str(*data)[:20]
    when = data.get(what)
    good = HASH.fullmatch(sha256) and what in (ERASED, READMITTED) and is_date(when)
    return (sha256, what, str(when)) if good else None


def is_date(when: object) -> bool:
    """True for an ISO date."""
    try:
        return isinstance(when, str) and bool(date.fromisoformat(when))
    except ValueError:
        return False
