"""User states in one SQLite file, for one node. Many threads and processes may read and write at the same time.

The file uses a write-ahead log, and a rowid table with an index on the id (a table WITHOUT ROWID grows to three times
the size). It does not work on network drives, which lack the shared memory that the log needs.

Erasing leaves no byte behind. `secure_delete` alone does not achieve that: after a page was split, copies of rows stay
in its gaps. So `erase` also rebuilds the file (VACUUM) and empties the log. This takes seconds per 100 MB, so erase
users in batches. A tombstone records that its rebuilding is pending, and the next `erase` completes it.
"""

import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import RLock
from typing import Any, Self

from persona_rm.errors import DataError, StoreDown
from persona_rm.profiles.base import SCHEMA, ProfileStore, Record, check_schema
from persona_rm.profiles.paths import path_of

OURS = 0x50524D50
"""The application id in the file's header: "PRMP"."""
TABLES = (
    "CREATE TABLE states (id TEXT NOT NULL, version INTEGER NOT NULL, state BLOB NOT NULL)",
    "CREATE UNIQUE INDEX states_id ON states (id)",
    "CREATE TABLE erased (sha256 TEXT NOT NULL, date TEXT NOT NULL, pending INTEGER NOT NULL)",
    "CREATE UNIQUE INDEX erased_sha256 ON erased (sha256)",
    f"PRAGMA application_id = {OURS}",
    f"PRAGMA user_version = {SCHEMA}",
)
PUT = """INSERT INTO states VALUES (?, ?, ?)
ON CONFLICT (id) DO UPDATE SET version = excluded.version, state = excluded.state"""
# The date is not updated on a conflict: an older tombstone keeps its own.
BURY = """INSERT INTO erased VALUES (?, ?, ?)
ON CONFLICT (sha256) DO UPDATE SET pending = max(pending, excluded.pending)"""
PASSING = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN)
"""Errors that may pass: another process holds the file, or its disk is away."""
MANY = 500
"""The largest number of values in one `IN (...)`."""
PAGE = 1000
MAPPED = 1 << 31
"""Bytes of the file that are mapped and read without a copy, for a third more look-ups a second."""
INHERITED: list[sqlite3.Connection] = []
"""Connections of the parent of a forked process. Closing them would release the locks of the parent."""


class OpenFile:
    """Which file, and which log beside it, a connection has open."""

    def __init__(self, path: Path) -> None:
        self.path, self.log = path, path.with_name(path.name + "-wal")
        self._file, self._log = _identity(path), _identity(self.log)

    def was_replaced(self) -> bool:
        """True if another file is at the path now. It costs a microsecond or two.

        Raises `StoreDown` while there is none, and `DataError` if the log of the old file would be read as that of the
        new one: SQLite goes by the name of a log.
        """
        now = _identity(self.path)
        if now == self._file:
            return False
        if now is None:
            raise StoreDown("the file was removed while it was open; it is waited for", file=self.path)
        if self._log is not None and self._log == _identity(self.log) and self.log.stat().st_size:
            problem = f"the file was replaced while {self.log.name} still held writes to the old one"
            do = f"Stop the writers, remove {self.log.name}, and put the new file there again"
            raise DataError(f"{problem}, which would be mixed into the new one. {do}", file=self.path)
        return True


class SqliteStore(ProfileStore):
    """The store in the file at `path`, which is created if it is missing.

    `timeout_s` is how long a call waits for the locks of other processes.
    """

    kind = "sqlite"

    def __init__(self, path: str | Path, timeout_s: float = 30.0) -> None:
        super().__init__(str(path))
        self.path, self.timeout_s = Path(path), timeout_s
        self._lock, self._pid = RLock(), 0
        self._connection: sqlite3.Connection | None = None
        self._file: OpenFile | None = None

    @classmethod
    def from_url(cls, url: str) -> Self:
        """sqlite:PATH."""
        return cls(path_of(url))

    def open(self) -> Self:
        """Open the file, or create it."""
        with self._lock:
            self._db()
        return self

    def close(self) -> None:
        """Close the connection. The last connection that closes folds the log into the file."""
        with self._lock:
            if self._connection is not None and self._pid == os.getpid():
                self._connection.close()
            self._connection = None

    def ids(self) -> Iterator[str]:
        """In sorted order."""
        # In pages, so that no read stays open while the caller works: it would keep `erase` from emptying the log.
        sql, after = f"SELECT id FROM states WHERE id > ? ORDER BY id LIMIT {PAGE}", b""
        while True:
            with self._step("") as db:
                page = [row[0] for row in db.execute(sql, (after.decode(),))]
            yield from (user_id.decode() for user_id in page)
            if len(page) < PAGE:
                return
            after = page[-1]

    def __len__(self) -> int:
        with self._step("") as db:
            return int(db.execute("SELECT count(*) FROM states").fetchone()[0])

    def _read(self, wanted: Mapping[str, str]) -> dict[str, bytes]:
        with self._step("BEGIN") as db:
            return _texts(db, wanted)

    def _read_with_dates(self, wanted: Mapping[str, str]) -> tuple[dict[str, bytes], dict[str, str]]:
        with self._step("BEGIN") as db:
            return _texts(db, wanted), _tombstones(db, list(wanted.values()))

    def _write(self, rows: Sequence[Record], readmit: bool, read: Mapping[str, int] | None) -> None:
        hashes = [row.sha256 for row in rows]
        with self._step("BEGIN IMMEDIATE") as db:
            # The write lock is held from the first read on, so that no other process writes between the check of the
            # versions and the write.
            stored: dict[bytes, int] = dict(
                _among(db, "id, version FROM states WHERE id", [row.user_id for row in rows])
            )
            dates: dict[bytes, bytes] = (
                {} if readmit else dict(_among(db, "sha256, date FROM erased WHERE sha256", hashes))
            )
            for row in rows:
                if date := dates.get(row.sha256.encode()):
                    self._forgotten(row.user_id, date.decode())
                version = stored.get(row.user_id.encode(), 0)
                if read is not None and version != read[row.user_id]:
                    self._changed(row.user_id, read[row.user_id], version)
                if version > row.version:
                    self._stale(row.user_id, row.version, version)
            db.executemany("DELETE FROM erased WHERE sha256 = ?", [(sha256,) for sha256 in hashes])
            db.executemany(PUT, [(row.user_id, row.version, row.text) for row in rows])

    def _remove(self, wanted: Mapping[str, str], date: str) -> int:
        with self._step("BEGIN IMMEDIATE") as db:
            there = {user.decode() for (user,) in _among(db, "id FROM states WHERE id", wanted)}
            # Pending only if there was a state: a user without one left no bytes in the file.
            db.executemany(BURY, [(sha256, date, user in there) for user, sha256 in wanted.items()])
            db.executemany("DELETE FROM states WHERE id = ?", [(user,) for user in there])
        self._scrub()
        return len(there)

    def _dates(self, sha256s: Sequence[str]) -> dict[str, str]:
        with self._step("BEGIN") as db:
            return _tombstones(db, sha256s)

    def _scrub(self) -> None:
        """Rebuild the file, so that nothing of erased states is left in its gaps, and empty the log."""
        with self._step("") as db:
            pending = db.execute("SELECT sha256 FROM erased WHERE pending").fetchall()
            if not pending:
                return
            if not _rebuilt(db):
                problem = "the states are erased, but their bytes are still in the file, which other processes use"
                raise DataError(f"{problem}. Erase the same users again to finish", file=self.path)
            # Only those that were pending before the file was rebuilt: another process may have erased more meanwhile.
            db.executemany("UPDATE erased SET pending = 0 WHERE sha256 = ?", [(row[0].decode(),) for row in pending])

    @contextmanager
    def _step(self, begin: str) -> Iterator[sqlite3.Connection]:
        """The connection, for one thread at a time. With `begin` the block is one transaction."""
        with self._lock, _told(self.path):
            db = self._db()
            if not begin:
                yield db
                return
            db.execute(begin)
            # sqlite3 commits at the end of this block, and rolls back if it raises.
            with db:
                yield db

    def _db(self) -> sqlite3.Connection:
        if self._connection is not None and self._pid != os.getpid():
            INHERITED.append(self._connection)
            self._connection = None
        if self._connection is not None and self._file is not None and self._file.was_replaced():
            # Otherwise the old file would be read for ever, and an erasure in the new one never be seen. SQLite sees
            # that the file has moved, so closing leaves the log of the new file alone.
            self._connection.close()
            self._connection = None
        if self._connection is None:
            with _told(self.path):
                self._connection, self._pid = _connect(self.path, self.timeout_s), os.getpid()
            self._file = OpenFile(self.path)
        return self._connection


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of the file at a path; None if there is none."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Raise errors of SQLite as `DataError`; they quote no values. One that a retry may cure becomes `StoreDown`."""
    try:
        yield
    except sqlite3.Error as error:
        # The lower byte is the primary code; extended codes say more in the others.
        kind = StoreDown if (getattr(error, "sqlite_errorcode", 0) or 0) & 0xFF in PASSING else DataError
        raise kind(f"SQLite failed: {error}", file=path) from error


def _among(db: sqlite3.Connection, what: str, values: Iterable[str]) -> Iterator[tuple[Any, ...]]:
    """Rows of `SELECT {what} IN values`, in parts of `MANY` values; texts come as bytes."""
    every = list(values)
    for start in range(0, len(every), MANY):
        part = every[start : start + MANY]
        yield from db.execute(f"SELECT {what} IN ({', '.join('?' * len(part))})", part)


def _texts(db: sqlite3.Connection, wanted: Iterable[str]) -> dict[str, bytes]:
    return {user.decode(): text for user, text in _among(db, "id, state FROM states WHERE id", wanted)}


def _tombstones(db: sqlite3.Connection, sha256s: Iterable[str]) -> dict[str, str]:
    rows = _among(db, "sha256, date FROM erased WHERE sha256", sha256s)
    return {sha256.decode(): date.decode() for sha256, date in rows}


def _rebuilt(db: sqlite3.Connection) -> bool:
    """Rebuild the file and empty the log. False if another reader or writer held a lock for the whole timeout."""
    try:
        db.execute("VACUUM")
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise
        return False
    # The first column of the answer is 1 if a reader kept the log from being emptied.
    return not db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]


def _connect(path: Path, timeout_s: float) -> sqlite3.Connection:
    if path.is_dir():
        raise DataError("a folder; the store is one file", file=path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as undo:
        # Transactions begin where `_step` says so, and its lock lets one thread at a time use the connection.
        db = sqlite3.connect(path, timeout=timeout_s, isolation_level=None, check_same_thread=False)
        undo.callback(db.close)
        db.text_factory = bytes
        db.execute("PRAGMA secure_delete = ON")
        db.execute(f"PRAGMA mmap_size = {MAPPED}")
        if _found_new(db, path):
            _into_wal(db, path, timeout_s)
            _make(db, path)
        undo.pop_all()
    return db


def _found_new(db: sqlite3.Connection, path: Path) -> bool:
    """`_is_new`, in one read transaction.

    Without one, another process may write the whole store between the two reads. The first would see no application
    id and the second would see tables, which looks like a file of another program.
    """
    db.execute("BEGIN")
    with db:
        return _is_new(db, path)


def _is_new(db: sqlite3.Connection, path: Path) -> bool:
    """True if the file has nothing in it. It is asked inside a transaction, because it reads several values.

    Raises `DataError` if the file belongs to another program or has another layout.
    """
    application, layout = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version"))
    if application == OURS:
        check_schema(str(layout), str(path))
        return False
    if application or layout or db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise DataError("an SQLite file of another program, no profile store; name another path", file=path)
    return True


def _into_wal(db: sqlite3.Connection, path: Path, timeout_s: float) -> None:
    """Switch to the write-ahead log. This retries, because SQLite does not wait for a process that does the same."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        except sqlite3.OperationalError:
            if time.monotonic() > end:
                raise
            time.sleep(0.01)
            continue
        # Where no log can be kept, SQLite answers with the old mode and raises nothing.
        if mode != b"wal" and mode != "wal":
            raise DataError("no write-ahead log can be kept here; a store needs a local disk", file=path)
        return


def _make(db: sqlite3.Connection, path: Path) -> None:
    """Write the tables, unless another process wrote them since the file was seen empty."""
    db.execute("BEGIN IMMEDIATE")
    with db:
        for statement in TABLES if _is_new(db, path) else ():
            db.execute(statement)
