"""The contract of a profile store: it keeps user states between adapting and scoring.

Every store has the same three verbs. `get` and `put` read and write states. `erase` serves the right to be forgotten:
it removes the state and leaves a tombstone, which holds the sha256 of the id and a date and nothing else, so that a
later import cannot bring the user back unnoticed. If an id can be guessed, its hash can be guessed too: tombstones are
pseudonymous, not anonymous. Error messages name ids, versions and dates, and never the content of a state.
"""

import hashlib
import json
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, NoReturn, Self, TypeVar

from persona_rm.errors import DataError, StaleWrite
from persona_rm.types import STORED, UserState

T = TypeVar("T")
RETRY_S = 0.02
"""The longest pause before a write that came too late is made again."""
SCHEMA = 1
"""The layout of a store. It is written into the store and checked when the store is opened."""
FIELDS = STORED
NAMES = frozenset(FIELDS)
DECODER = json.JSONDecoder()
LARGEST = 2**53
"""Versions stay below this, because a Redis script compares them as doubles."""


@dataclass(frozen=True, slots=True)
class Record:
    """A state in the form in which every store keeps it."""

    user_id: str
    sha256: str
    version: int
    text: bytes


class ProfileStore(ABC):
    """States by user id. The first call opens the store, and a call after `close` opens it again."""

    kind: ClassVar[str]

    def __init__(self, where: str) -> None:
        self.where = where
        """The location without passwords, for errors and `repr`."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.where!r})"

    @classmethod
    @abstractmethod
    def from_url(cls, url: str) -> Self:
        """The store that a URL of its scheme names, not opened yet. Raises `DataError` if the URL is malformed."""

    @abstractmethod
    def open(self) -> Self:
        """Open the store. Raises `DataError` if it has another layout, `MissingExtra` if its package is missing."""

    def get(self, user_ids: Sequence[str]) -> dict[str, UserState]:
        """The states of the users that have one, in the order of the ids. Raises `DataError` for a broken state."""
        wanted = hashes(user_ids)
        texts = self._read(wanted)
        return {user: read_state(user, texts[user], self.where) for user in wanted if user in texts}

    def look(self, user_ids: Sequence[str]) -> tuple[dict[str, UserState], dict[str, str]]:
        """The states, and the ISO dates of erasure of those users that have none, both as of one moment.

        With `get` and `erased` one after the other, a user who is erased or readmitted in between would have neither,
        and would look like one who was never erased. Raises `DataError` as `get` does.
        """
        wanted = hashes(user_ids)
        texts, dates = self._read_with_dates(wanted)
        states = {user: read_state(user, texts[user], self.where) for user in wanted if user in texts}
        gone = {user: dates[sha256] for user, sha256 in wanted.items() if user not in states and sha256 in dates}
        return states, gone

    def put(
        self, states: Sequence[UserState], *, readmit: bool = False, read: Mapping[str, int] | None = None
    ) -> None:
        """Insert or replace all of the states, or none of them.

        `read` makes it a compare-and-set: the version from which each user's state was made, 0 if there was none. A
        writer that reads a state, adapts it and stores it passes it, inside `retry_stale`; otherwise the update of
        another writer that came in between would be lost.

        Raises `StaleWrite` if the stored version is not the one in `read`, or if it is higher than that of the new
        state. Raises `DataError` naming the user if a state has no user id or cannot be written as JSON, if `read`
        lacks the user, and if the user was erased, unless `readmit` stores them again.
        """
        # All states are checked before the store is touched, so a bad one among them writes nothing.
        if rows := records(states):
            for row in rows:
                if read is not None and row.user_id not in read:
                    raise DataError(f"user {row.user_id!r}: `read` must hold the version that was read, 0 for none")
            self._write(rows, readmit, read)

    def erase(self, user_ids: Sequence[str]) -> int:
        """Remove states and leave tombstones, also for users without a state; returns how many had one."""
        wanted = hashes(user_ids)
        return self._remove(wanted, today()) if wanted else 0

    def erased(self, user_ids: Sequence[str]) -> dict[str, str]:
        """The ISO date (UTC) on which each user was erased. Users who were not, or were readmitted, are left out."""
        wanted = hashes(user_ids)
        dates = self._dates(list(wanted.values()))
        return {user: dates[sha256] for user, sha256 in wanted.items() if sha256 in dates}

    def export(self, user_id: str) -> dict[str, Any]:
        """Everything that is stored about a user, as plain JSON. Raises `DataError` if nothing is stored."""
        state = self.get([user_id]).get(user_id)
        if state is None:
            when = self.erased([user_id]).get(user_id)
            why = f"was erased on {when}, and nothing else is kept" if when else "has no state here"
            raise DataError(f"user {user_id!r} {why}", file=self.where)
        return {"user_id": user_id, "schema": SCHEMA, "state": json.loads(state.to_json())}

    def retry_stale(self, update: Callable[[], T], seconds: float = 60.0) -> T:
        """The result of `update`, which reads states, adapts them and puts them with `read`. It is called again as
        long as other writers come in between. Raises the last `StaleWrite` after so many seconds."""
        end = time.monotonic() + seconds
        while True:
            try:
                return update()
            except StaleWrite:
                if time.monotonic() >= end:
                    raise
            # A random pause, so that two writers do not meet again and again.
            time.sleep(random.uniform(0, RETRY_S))

    def refresh(self) -> None:  # noqa: B027 - most stores have nothing to do
        """Read what other writers wrote meanwhile. Stores that always read the current data have nothing to do."""

    @abstractmethod
    def ids(self) -> Iterator[str]:
        """Every user id that has a state, each once."""

    @abstractmethod
    def __len__(self) -> int:
        """The number of users that have a state."""

    @abstractmethod
    def close(self) -> None:
        """Close files and connections."""

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _read(self, wanted: Mapping[str, str]) -> dict[str, bytes]:
        """The stored texts of those users in `wanted` (id to sha256) that have one."""

    @abstractmethod
    def _read_with_dates(self, wanted: Mapping[str, str]) -> tuple[dict[str, bytes], dict[str, str]]:
        """`_read`, and the dates of the hashes that have a tombstone, in one transaction."""

    @abstractmethod
    def _write(self, rows: Sequence[Record], readmit: bool, read: Mapping[str, int] | None) -> None:
        """Check and write in one transaction, so that no other writer comes in between."""

    @abstractmethod
    def _remove(self, wanted: Mapping[str, str], date: str) -> int:
        """Remove the users in `wanted` (id to sha256). An older tombstone keeps its date."""

    @abstractmethod
    def _dates(self, sha256s: Sequence[str]) -> dict[str, str]:
        """The dates of those hashes that have a tombstone."""

    def _stale(self, user_id: str, version: int, stored: int) -> NoReturn:
        problem = (
            f"stale write: version {version} of user {user_id!r} came after version {stored}; nothing was written"
        )
        raise StaleWrite(f"{problem}. Get the stored state, adapt it and put that", file=self.where)

    def _changed(self, user_id: str, read: int, stored: int) -> NoReturn:
        was = f"version {read}" if read else "no state"
        now = f"version {stored}" if stored else "no state"
        problem = f"stale write: {was} of user {user_id!r} was read, and there is {now} by now; nothing was written"
        raise StaleWrite(f"{problem}. Get the stored state, adapt it and put that", file=self.where)

    def _forgotten(self, user_id: str, date: str) -> NoReturn:
        problem = f"user {user_id!r} was erased on {date}; nothing was written"
        raise DataError(f"{problem}. If the user came back, readmit=True stores them again", file=self.where)


def today() -> str:
    """The ISO date, UTC."""
    return datetime.now(UTC).date().isoformat()


def hashes(user_ids: Sequence[str]) -> dict[str, str]:
    """Each id once, with its sha256. Raises `DataError` if `user_ids` is a text instead of a list of ids."""
    # A text is a sequence too, and would be taken for a list of ids of one letter.
    if isinstance(user_ids, str):
        raise DataError("a list of user ids is asked for, found one text: put it in a list")
    return {user: hash_of(user) for user in dict.fromkeys(user_ids)}


def hash_of(user_id: str) -> str:
    """The sha256 of an id, in hex."""
    try:
        return hashlib.sha256(user_id.encode()).hexdigest()
    except (AttributeError, UnicodeEncodeError) as error:
        raise DataError(f"a user id must be a text that UTF-8 can write, found {user_id!r}"[:200]) from error


def records(states: Iterable[UserState]) -> list[Record]:
    """The records to store, of each user the last. Raises `DataError` for a bad state or a falling version."""
    last: dict[str, Record] = {}
    for state in states:
        new = record(state)
        # Within one call a later state may replace an earlier one, like two calls in this order.
        old = last.get(new.user_id)
        if old and old.version > new.version:
            problem = f"version {new.version} of user {new.user_id!r} follows version {old.version} in one put"
            raise DataError(f"stale write: {problem}; nothing was written")
        last[new.user_id] = new
    return list(last.values())


def record(state: UserState) -> Record:
    """The state as text. Raises `DataError` naming the user, without any content of the state."""
    if not state.user_id:
        raise DataError(f"a state without a user id cannot be stored (method {state.method!r}, {state.user_id!r})")
    # `type`, because True is an int in Python.
    if type(state.version) is not int or not 0 <= state.version < LARGEST:
        raise DataError(f"user {state.user_id!r}: a version is a whole number from 0 to 2**53")
    sha256 = hash_of(state.user_id)
    text = _written(state)
    if text is None:
        raise DataError(f"user {state.user_id!r}: the payload is no JSON (numbers must be finite, texts UTF-8)")
    return Record(state.user_id, sha256, state.version, text)


def _written(state: UserState) -> bytes | None:
    """None if the state is not JSON. The caller raises, because Python's own errors would quote the text."""
    try:
        text = state.to_json()
        # A text of the payload may hold these words, too, so the JSON is parsed to tell, but only if one of them
        # occurs.
        if "NaN" in text or "Infinity" in text:
            json.loads(text, parse_constant=_no_number)
        return text.encode()
    except (TypeError, ValueError, RecursionError):
        return None


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)


def read_state(user_id: str, text: bytes, where: str) -> UserState:
    """The inverse of `record`. Raises `DataError` naming the user and what to do."""
    data = _parsed(text)
    if isinstance(data, dict) and data.keys() == NAMES and _fits(data, user_id):
        return UserState(**data)
    raise DataError(f"user {user_id!r}: {_fault(data)}. Put the state again, or erase the user", file=where)


def _parsed(text: bytes) -> Any:
    """The parsed text, None if it is not JSON.

    This is `json.loads` without its search for encodings and white space, which saves a tenth of a look-up.
    """
    try:
        whole = text.decode()
        data, end = DECODER.raw_decode(whole)
    except (ValueError, RecursionError):
        return None
    return data if end == len(whole) else None


def _fits(data: Mapping[str, Any], user_id: str) -> bool:
    """Whether the fields have their types. The comparisons are written out, because every look-up runs them."""
    return (
        data["user_id"] == user_id
        and type(data["method"]) is str
        and type(data["payload"]) is dict
        and type(data["n_items"]) is int
        and type(data["version"]) is int
    )


def _fault(data: Any) -> str:
    if not isinstance(data, dict):
        return "the stored text is no state (cut, or not written by this library)"
    missing, unknown = [name for name in FIELDS if name not in data], len(set(data) - set(FIELDS))
    if missing or unknown:
        lacks = f"lacks {', '.join(missing)}; " if missing else ""
        return f"the stored state has another layout ({lacks}{unknown} unknown fields): another version wrote it"
    if isinstance(data["user_id"], str) and _fits(data, data["user_id"]):
        return "the state stored under this id belongs to another user"
    return "a field of the stored state is of another kind: another version wrote it"


def check_schema(layout: str, where: str) -> None:
    """Raises `DataError` if a store has another layout; `layout` is the text or number that it carries."""
    if layout == str(SCHEMA):
        return
    newer = layout.isdigit() and int(layout) > SCHEMA
    what = "update persona_rm to read it" if newer else "write the states into a new store with this version"
    shown = layout if layout.isdigit() else "unknown"
    raise DataError(f"a profile store of layout {shown}; this version reads layout {SCHEMA}: {what}", file=where)
