"""An immutable snapshot for training: one Arrow file, mapped into memory and shared by every process of a node.

Rows are sorted by user id. Two more columns hold the first 64 bits of the ids' hashes, sorted, and the row of each. A
batch is looked up by one binary search over these numbers, whatever the ids look like, and opening builds no index.
Opening reads the file once and compares its checksum, so a damaged file is refused and never read wrongly.
`erase` writes tombstones beside the file. They hold from the next call of an open snapshot on; the bytes of the state
leave the disk when `write_snapshot` writes the file again. A user that an open snapshot saw erased stays erased in it.
An open snapshot keeps its content until `refresh`, even if its path gets another file.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, Self

import numpy as np
from numpy.typing import NDArray

from persona_rm.errors import DataError, MissingExtra
from persona_rm.io.json_rows import atomic, need_file
from persona_rm.profiles.base import SCHEMA, ProfileStore, Record, check_schema, hash_of, record, today
from persona_rm.profiles.paths import path_of
from persona_rm.profiles.tombstones import Tombstones, is_date
from persona_rm.types import UserState

BESIDE = ".erased"
LAYOUT, VERSION = b"persona_rm.profiles.schema", b"persona_rm.profiles.sha256"
MAGIC = b"ARROW1"
COLUMNS = {"id": "large_binary", "state": "large_binary", "key": "uint64", "row": "uint32"}


@dataclass(frozen=True, slots=True)
class StateTable:
    """The columns of an open file, mapped and not copied."""

    ids: Any
    states: Any
    keys: NDArray[np.uint64]
    rows: NDArray[np.uint32]
    version: str
    source: Any
    stamp: tuple[int, int]
    """The inode number and the time of writing, to tell one file at the path from the next."""


class ArrowSnapshot(ProfileStore):
    """The snapshot at `path`, made by `write_snapshot`."""

    kind = "arrow"

    def __init__(self, path: str | Path) -> None:
        super().__init__(str(path))
        self.path = Path(path)
        self.tombstones = Tombstones(self.path.with_name(self.path.name + BESIDE))
        self._table: StateTable | None = None
        self._gone: dict[str, str] = {}
        self._looked: Mapping[str, str] = {}

    @classmethod
    def from_url(cls, url: str) -> Self:
        """arrow:PATH."""
        return cls(path_of(url))

    def open(self) -> Self:
        """Map the file, unless it is mapped already."""
        if self._table is None:
            self._table, self._gone, self._looked = _mapped(self.path), {}, {}
        # Read at once, so that a broken file of tombstones fails when the snapshot is opened.
        self._dead()
        return self

    def close(self) -> None:
        """Close the mapping."""
        if self._table is not None:
            self._table.source.close()
        self._table = None

    def refresh(self) -> None:
        """Open the file that is at the path now, if it is another one. Raises `DataError` if it is no snapshot."""
        if self._table is not None and _stamp(need_file(self.path)) != self._table.stamp:
            self._table, self._gone, self._looked = _mapped(self.path), {}, {}

    @property
    def version(self) -> str:
        """The sha256 of the columns: the same users with the same states have the same version."""
        return self._opened().version

    def ids(self) -> Iterator[str]:
        """In sorted order."""
        table = self._opened()
        for row in range(len(table.ids)):
            user_id = table.ids[row].as_py().decode()
            # Asked for every row, because users may be erased while the caller iterates.
            dead = self._dead()
            if not dead or hash_of(user_id) not in dead:
                yield user_id

    def __len__(self) -> int:
        table = self._opened()
        return len(table.ids) - len(_places(table, list(self._dead())))

    def _opened(self) -> StateTable:
        if self._table is None:
            self.open()
        assert self._table is not None
        return self._table

    def _dead(self) -> Mapping[str, str]:
        """Tombstones. An open snapshot only adds to them: the state of a readmitted user is in the next file."""
        now = self.tombstones.dates()
        # `dates` returns the same mapping until the file changes.
        if now is not self._looked:
            self._looked, self._gone = now, {**now, **self._gone}
        return self._gone

    def _read(self, wanted: Mapping[str, str]) -> dict[str, bytes]:
        return self._read_with_dates(wanted)[0]

    def _read_with_dates(self, wanted: Mapping[str, str]) -> tuple[dict[str, bytes], dict[str, str]]:
        # The tombstones are read once, and the table does not change.
        table, dead = self._opened(), self._dead()
        places = _places(table, [sha256 for sha256 in wanted.values() if sha256 not in dead])
        there = [user for user, sha256 in wanted.items() if sha256 in places]
        states = _values(table.states, [places[wanted[user]] for user in there])
        gone = {sha256: dead[sha256] for sha256 in wanted.values() if sha256 in dead}
        return dict(zip(there, states, strict=True)), gone

    def _write(self, rows: Sequence[Record], readmit: bool, read: Mapping[str, int] | None) -> NoReturn:
        raise DataError(
            "a snapshot cannot be changed: write a new one with persona_rm.profiles.arrow.write_snapshot, or keep "
            "states that change in sqlite:PATH or redis://HOST:PORT/DB",
            file=self.path,
        )

    def _remove(self, wanted: Mapping[str, str], date: str) -> int:
        table, dead = self._opened(), self._dead()
        # Counted before the tombstones are added, because afterwards none of these users counts as present.
        there = _places(table, [sha256 for sha256 in wanted.values() if sha256 not in dead])
        self.tombstones.add(dict.fromkeys(wanted.values(), date))
        self._dead()
        return len(there)

    def _dates(self, sha256s: Sequence[str]) -> dict[str, str]:
        self._opened()
        dead = self._dead()
        return {sha256: dead[sha256] for sha256 in sha256s if sha256 in dead}


def write_snapshot(
    path: str | Path, states: Iterable[UserState], erased: Mapping[str, str] | None = None, *, readmit: bool = False
) -> Path:
    """Write the snapshot whole or not at all, sorted by id. All texts are held in memory meanwhile.

    `erased` (user id to ISO date, as `ProfileStore.erased` returns it) leaves these users out and adds their
    tombstones. Tombstones that are beside `path` already count too. With `readmit` only `erased` counts, and the
    tombstones of the other users in `states` are lifted.
    Raises `DataError` for a bad state, or if a user comes twice.
    """
    target, pyarrow = Path(path), _pyarrow()
    stones = Tombstones(target.with_name(target.name + BESIDE))
    gone = {hash_of(user): _checked(user, when) for user, when in (erased or {}).items()}
    refused = gone if readmit else {**stones.dates(), **gone}
    # Sorted, so that the same users give the same bytes and the same version in whatever order they come.
    rows = sorted(_once(states, refused), key=lambda row: row.user_id)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Tombstones are added before the new file stands, and lifted after it: if writing fails in between, a user who was
    # erased stays erased.
    stones.add(gone)
    with atomic(target) as temporary:
        _save(pyarrow, temporary, rows)
    if readmit:
        stones.lift((row.sha256 for row in rows), today())
    return target


def _checked(user_id: str, when: str) -> str:
    if not is_date(when):
        raise DataError(f"user {user_id!r}: the date of an erasure must be ISO 8601, found {when!r}"[:200])
    return when


def _once(states: Iterable[UserState], refused: Mapping[str, str]) -> Iterator[Record]:
    seen: set[str] = set()
    for state in states:
        new = record(state)
        # Tested before erased users are left out, so that a user who comes twice is an error in any case.
        if new.sha256 in seen:
            raise DataError(f"user {new.user_id!r} stands twice among the states of a snapshot; give the latest only")
        seen.add(new.sha256)
        if new.sha256 not in refused:
            yield new


def _save(pyarrow: Any, path: Path, rows: Sequence[Record]) -> None:
    keys = np.array([_key(row.sha256) for row in rows], dtype=np.uint64)
    # 32 bits per row number are enough for 4 billion users, and half as large.
    order = np.argsort(keys, kind="stable").astype(np.uint32)
    types = [getattr(pyarrow, kind)() for kind in COLUMNS.values()]
    columns = [[row.user_id.encode() for row in rows], [row.text for row in rows], keys[order], order]
    batch = pyarrow.record_batch(
        [pyarrow.array(values, kind) for values, kind in zip(columns, types, strict=True)], names=list(COLUMNS)
    )
    batch = batch.replace_schema_metadata({LAYOUT: str(SCHEMA), VERSION: _content(batch)})
    schema = batch.schema
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_file(sink, schema) as writer:
        writer.write_batch(batch)


def _content(batch: Any) -> str:
    """The sha256 of the columns, read where they lie: over a gigabyte a second."""
    digest = hashlib.sha256()
    # Without rows Arrow may leave out the buffers.
    for column in batch.columns if batch.num_rows else ():
        _, *buffers = column.buffers()
        # Arrow may pad a buffer at its end, so of each only the bytes that hold values count.
        if len(buffers) == 2:
            offsets = np.frombuffer(buffers[0], np.int64, len(column) + 1)
            digest.update(offsets.tobytes())
            digest.update(memoryview(buffers[1])[: int(offsets[-1])])
        else:
            digest.update(column.to_numpy().tobytes())
    return digest.hexdigest()


def _mapped(path: Path) -> StateTable:
    """The columns of a snapshot, checked as far as safe reading needs it. Raises `DataError` for a bad file."""
    pyarrow = _pyarrow()
    if path.is_dir():
        raise DataError("a folder; a snapshot is one file", file=path)
    with need_file(path).open("rb") as stream:
        # Tells another kind of file apart from a damaged snapshot, which fails below.
        if stream.read(len(MAGIC)) != MAGIC:
            raise DataError("no Arrow file; a snapshot is made by persona_rm.profiles.arrow.write_snapshot", file=path)
    try:
        return _columns(pyarrow, path)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read as Arrow: {error} (is the file cut? write it again)", file=path) from error


def _columns(pyarrow: Any, path: Path) -> StateTable:
    stamp, source = _stamp(path), pyarrow.memory_map(str(path))
    reader = pyarrow.ipc.open_file(source)
    _check(reader.schema, reader.num_record_batches, path)
    batch = reader.get_batch(0)
    # Offsets of a damaged file may point outside of it. Validation reads the offsets and not the states.
    batch.validate(full=True)
    if any(column.null_count for column in batch.columns):
        raise DataError("damaged: values are missing; write it again", file=path)
    keys, rows = batch.column("key").to_numpy(), batch.column("row").to_numpy()
    # The checksum is about accidents. A file that was made on purpose may have a right one and a wrong index.
    if len(rows) and int(rows.max()) >= len(rows):
        raise DataError("damaged: its index points behind its rows; write it again", file=path)
    version = reader.schema.metadata[VERSION].decode(errors="replace")
    # Without this, a flipped bit in an id makes its user unknown, and one in a state may give another valid state.
    if _content(batch) != version:
        raise DataError("damaged: not what was written; write it again", file=path)
    return StateTable(batch.column("id"), batch.column("state"), keys, rows, version, source, stamp)


def _stamp(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_ino, status.st_mtime_ns


def _check(schema: Any, batches: int, path: Path) -> None:
    about = schema.metadata or {}
    if LAYOUT not in about:
        raise DataError("an Arrow file, but no profile snapshot; write_snapshot makes one", file=path)
    check_schema(about[LAYOUT].decode(errors="replace"), str(path))
    if VERSION not in about:
        raise DataError("carries no checksum: an earlier version wrote it; write it again", file=path)
    if {field.name: str(field.type) for field in schema} != COLUMNS or batches != 1:
        raise DataError("not what write_snapshot writes: columns or pieces are missing; write it again", file=path)


def _places(table: StateTable, sha256s: Sequence[str]) -> dict[str, int]:
    """The rows of those hashes that are in the table.

    `keys` are sorted 64-bit prefixes of hashes, so two users may share a key, but never a hash. `left` are the
    positions in `sha256s` that are still open, `places` the position in `keys` to compare each with.
    """
    keys = np.array([_key(sha256) for sha256 in sha256s], dtype=np.uint64)
    places, left = np.searchsorted(table.keys, keys), np.arange(len(keys))
    rows_of: dict[str, int] = {}
    while len(left):
        # A hash whose key is not at its place is not in the table: drop it.
        left = left[places[left] < len(table.keys)]
        left = left[table.keys[places[left]] == keys[left]]
        rows = table.rows[places[left]]
        ids = _values(table.ids, rows)
        other_user = np.ones(len(left), dtype=bool)
        for position, (open_, row, id_) in enumerate(zip(left.tolist(), rows.tolist(), ids, strict=True)):
            if hashlib.sha256(id_).hexdigest() == sha256s[open_]:
                rows_of[sha256s[open_]] = row
                other_user[position] = False
        # The same key of another user: compare with the next place.
        left = left[other_user]
        places[left] += 1
    return rows_of


def _values(column: Any, rows: Any) -> list[bytes]:
    """The values of these rows, in one call: that takes half the time of one by one."""
    taken: list[bytes] = column.take(np.asarray(rows, dtype=np.uint32)).to_pylist()
    return taken


def _key(sha256: str) -> int:
    return int(sha256[:16], 16)


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.ipc
    except ImportError as error:
        raise MissingExtra("a snapshot needs pyarrow: pip install persona_rm[profiles]") from error
    return pyarrow
