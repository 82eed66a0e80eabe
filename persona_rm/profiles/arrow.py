"""An immutable snapshot for training: one Arrow file, mapped into memory and shared by every process of a node.

Rows stand in the order of ids. Beside them stand the first 64 bits of the ids' hashes, sorted, and the row of each: a
batch is looked up by one binary search over numbers, whatever the ids look like, and nothing is built at opening.
`erase` writes tombstones beside the file, which every opening honours, and an open one at its next call; the bytes
themselves leave when `write_snapshot` writes the file again. What an opening saw erased it never shows again.
An open snapshot stays as it was, whatever stands at its path, until `refresh`.
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
LAYOUT, VERSION = b"persona_rm.profiles.schema", b"persona_rm.profiles.version"
MAGIC = b"ARROW1"
COLUMNS = {"id": "large_binary", "state": "large_binary", "key": "uint64", "row": "uint32"}


@dataclass(frozen=True, slots=True)
class StateTable:
    """The columns of an open file, none of them copied."""

    ids: Any
    states: Any
    keys: NDArray[np.uint64]
    rows: NDArray[np.uint32]
    version: str
    source: Any
    stamp: tuple[int, int]
    """Which file this is: its number and when it was written."""


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
        """Maps the file, once."""
        if self._table is None:
            self._table, self._gone, self._looked = _mapped(self.path), {}, {}
        self._dead()
        return self

    def close(self) -> None:
        """Lets go of the mapping."""
        if self._table is not None:
            self._table.source.close()
        self._table = None

    def refresh(self) -> None:
        """Opens the file that stands at the path now, where it is another one. Raises `DataError` for a bad one."""
        if self._table is not None and _stamp(need_file(self.path)) != self._table.stamp:
            self._table, self._gone, self._looked = _mapped(self.path), {}, {}

    @property
    def version(self) -> str:
        """The sha256 of ids and states: the same people in the same state, the same version."""
        return self._opened().version

    def verify(self) -> None:
        """Reads the whole file and raises `DataError` where it is not what was written."""
        table = self._opened()
        ids = table.ids.to_pylist()
        whole = _content(zip(ids, table.states.to_pylist(), strict=True)) == table.version
        if not whole or len(_places(table, [hashlib.sha256(user_id).hexdigest() for user_id in ids])) < len(ids):
            raise DataError("damaged: not what was written; write it again", file=self.path)

    def ids(self) -> Iterator[str]:
        """In sorted order."""
        table = self._opened()
        for row in range(len(table.ids)):
            user_id = table.ids[row].as_py().decode()
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
        """Tombstones, which an open snapshot only adds to: a readmitted person's state is in the next file."""
        now = self.tombstones.dates()
        if now is not self._looked:
            self._looked, self._gone = now, {**now, **self._gone}
        return self._gone

    def _read(self, wanted: Mapping[str, str]) -> dict[str, bytes]:
        table, dead = self._opened(), self._dead()
        places = _places(table, [sha256 for sha256 in wanted.values() if sha256 not in dead])
        there = [user for user, sha256 in wanted.items() if sha256 in places]
        states = _values(table.states, [places[wanted[user]] for user in there])
        return dict(zip(there, states, strict=True))

    def _write(self, found: Sequence[Record], readmit: bool) -> NoReturn:
        raise DataError(
            "a snapshot cannot be changed: write a new one with persona_rm.profiles.arrow.write_snapshot, or keep "
            "states that change in sqlite:PATH or redis://HOST:PORT/DB",
            file=self.path,
        )

    def _remove(self, wanted: Mapping[str, str], date: str) -> int:
        table, dead = self._opened(), self._dead()
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
    """Writes the snapshot whole or not at all, sorted by id; the texts of all states are held in memory meanwhile.

    `erased` (user id -> ISO date, as `ProfileStore.erased` gives it) leaves these people out and adds their
    tombstones. Those that stand beside `path` from before are honoured too, unless `readmit`: then only `erased`
    counts, and the tombstones of the others who are in `states` are lifted.
    Raises `DataError` for a bad state, or one person twice.
    """
    target, pyarrow = Path(path), _pyarrow()
    stones = Tombstones(target.with_name(target.name + BESIDE))
    gone = {hash_of(user): _checked(user, when) for user, when in (erased or {}).items()}
    refused = gone if readmit else {**stones.dates(), **gone}
    rows = sorted(_once(states, refused), key=lambda row: row.user_id)
    target.parent.mkdir(parents=True, exist_ok=True)
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
        if new.sha256 in seen:
            raise DataError(f"user {new.user_id!r} stands twice among the states of a snapshot; give the latest only")
        seen.add(new.sha256)
        if new.sha256 not in refused:
            yield new


def _save(pyarrow: Any, path: Path, rows: Sequence[Record]) -> None:
    keys = np.array([_key(row.sha256) for row in rows], dtype=np.uint64)
    order = np.argsort(keys, kind="stable").astype(np.uint32)
    version = _content((row.user_id.encode(), row.text) for row in rows)
    schema = pyarrow.schema(
        [(name, getattr(pyarrow, kind)()) for name, kind in COLUMNS.items()],
        metadata={LAYOUT: str(SCHEMA), VERSION: version},
    )
    columns = [[row.user_id.encode() for row in rows], [row.text for row in rows], keys[order], order]
    batch = pyarrow.record_batch(
        [pyarrow.array(values, kind) for values, kind in zip(columns, schema.types, strict=True)], schema=schema
    )
    with pyarrow.OSFile(str(path), "wb") as sink, pyarrow.ipc.new_file(sink, schema) as writer:
        writer.write_batch(batch)


def _content(rows: Iterable[tuple[bytes, bytes]]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        for part in row:
            digest.update(len(part).to_bytes(8) + part)
    return digest.hexdigest()


def _mapped(path: Path) -> StateTable:
    """The columns of a snapshot, checked as far as reading them safely needs. Raises `DataError`."""
    pyarrow = _pyarrow()
    if path.is_dir():
        raise DataError("a folder; a snapshot is one file", file=path)
    with need_file(path).open("rb") as stream:
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
    batch.validate(full=True)  # offsets of a damaged file may point anywhere; costs no reading of states
    if any(column.null_count for column in batch.columns):
        raise DataError("damaged: values are missing; write it again", file=path)
    keys, rows = batch.column("key").to_numpy(), batch.column("row").to_numpy()
    if len(rows) and int(rows.max()) >= len(rows):
        raise DataError("damaged: its index points behind its rows; write it again", file=path)
    return StateTable(
        batch.column("id"), batch.column("state"), keys, rows, reader.schema.metadata[VERSION].decode(), source, stamp
    )


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def _check(schema: Any, batches: int, path: Path) -> None:
    about = schema.metadata or {}
    if LAYOUT not in about:
        raise DataError("an Arrow file, but no profile snapshot; write_snapshot makes one", file=path)
    check_schema(about[LAYOUT].decode(errors="replace"), str(path))
    if {field.name: str(field.type) for field in schema} != COLUMNS or VERSION not in about or batches != 1:
        raise DataError("not what write_snapshot writes: columns or pieces are missing; write it again", file=path)


def _places(table: StateTable, sha256s: Sequence[str]) -> dict[str, int]:
    """The rows of those hashes that are there. Two people may share a key, never a hash: who is not found at the
    first place of a key is looked for at the next."""
    keys = np.array([_key(sha256) for sha256 in sha256s], dtype=np.uint64)
    places, left = np.searchsorted(table.keys, keys), np.arange(len(keys))
    found: dict[str, int] = {}
    while len(left):
        left = left[places[left] < len(table.keys)]
        left = left[table.keys[places[left]] == keys[left]]
        rows = table.rows[places[left]]
        ids = _values(table.ids, rows)
        same = [hashlib.sha256(one).hexdigest() == sha256s[i] for i, one in zip(left.tolist(), ids, strict=True)]
        found.update((sha256s[i], row) for i, row, it in zip(left.tolist(), rows.tolist(), same, strict=True) if it)
        left = left[~np.array(same, dtype=bool)]
        places[left] += 1
    return found


def _values(column: Any, rows: Any) -> list[bytes]:
    """Those of `rows`, in one call: half the time of one by one."""
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
