"""The contract of a profile store: where the states of people are kept between adapting and scoring.

Every store answers the same three calls. `get` and `put` speak of states, `erase` of the right to be forgotten: it
removes the state and leaves a tombstone, the sha256 of the id and a date and nothing else, so that a later import
cannot bring the person back unseen. The hash of an id that can be guessed can be guessed too: tombstones are
pseudonymous, not anonymous. No error carries a word of a state; ids, versions and dates are named.
"""

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar, NoReturn, Self

from persona_rm.errors import DataError
from persona_rm.types import STORED, UserState

SCHEMA = 1
"""The layout of a store; written into it, and checked at opening."""
FIELDS = STORED
NAMES = frozenset(FIELDS)
DECODER = json.JSONDecoder()
LARGEST = 2**53
"""Versions stay below it: a Redis script compares them as doubles."""


@dataclass(frozen=True, slots=True)
class Record:
    """A state as every store keeps it."""

    user_id: str
    sha256: str
    version: int
    text: bytes


class ProfileStore(ABC):
    """States by user id. Opened by the first call, or by `open`; closing and calling again opens again."""

    kind: ClassVar[str]

    def __init__(self, where: str) -> None:
        self.where = where
        """The place without passwords: for errors and `repr`."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.where!r})"

    @classmethod
    @abstractmethod
    def from_url(cls, url: str) -> Self:
        """The store that a URL of its scheme names, not opened yet. Raises `DataError` for one it cannot read."""

    @abstractmethod
    def open(self) -> Self:
        """Opens it now. Raises `DataError` where it is no store of this layout, `MissingExtra` without its package."""

    def get(self, user_ids: Sequence[str]) -> dict[str, UserState]:
        """The states of those that are there, in the order asked. Raises `DataError` naming user for a broken one."""
        wanted = hashes(user_ids)
        found = self._read(wanted)
        return {user: read_state(user, found[user], self.where) for user in wanted if user in found}

    def put(self, states: Sequence[UserState], *, readmit: bool = False) -> None:
        """Inserts or replaces all of them, or none. Raises `DataError` naming the user where

        - a state belongs to nobody, or is no JSON;
        - its version is lower than the stored one: somebody else wrote later evidence;
        - the person was erased, unless `readmit` takes them again.
        """
        if found := records(states):
            self._write(found, readmit)

    def erase(self, user_ids: Sequence[str]) -> int:
        """Removes states and leaves tombstones, also for those not there; returns how many were there."""
        wanted = hashes(user_ids)
        return self._remove(wanted, today()) if wanted else 0

    def erased(self, user_ids: Sequence[str]) -> dict[str, str]:
        """The ISO date (UTC) at which each was erased; those that were not, or were readmitted, are left out."""
        wanted = hashes(user_ids)
        dates = self._dates(list(wanted.values()))
        return {user: dates[sha256] for user, sha256 in wanted.items() if sha256 in dates}

    def export(self, user_id: str) -> dict[str, Any]:
        """Plain JSON of everything that is held about a person, for the person. Raises `DataError` for unknown."""
        state = self.get([user_id]).get(user_id)
        if state is None:
            when = self.erased([user_id]).get(user_id)
            why = f"was erased on {when}, and nothing else is kept" if when else "has no state here"
            raise DataError(f"user {user_id!r} {why}", file=self.where)
        return {"user_id": user_id, "schema": SCHEMA, "state": json.loads(state.to_json())}

    def refresh(self) -> None:  # noqa: B027 - most stores have nothing to do
        """From now on what was written meanwhile is read: stores that read it anyway have nothing to do."""

    @abstractmethod
    def ids(self) -> Iterator[str]:
        """Every user id that has a state, each once."""

    @abstractmethod
    def __len__(self) -> int:
        """How many people have a state."""

    @abstractmethod
    def close(self) -> None:
        """Lets go of files and connections."""

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *_: object) -> None:
        self.close()

    @abstractmethod
    def _read(self, wanted: Mapping[str, str]) -> dict[str, bytes]:
        """Texts of those of `wanted` (id -> sha256) that are there."""

    @abstractmethod
    def _write(self, found: Sequence[Record], readmit: bool) -> None:
        """Checks and writes in one step that nobody can come between."""

    @abstractmethod
    def _remove(self, wanted: Mapping[str, str], date: str) -> int:
        """Removes `wanted` (id -> sha256); an older tombstone keeps its date."""

    @abstractmethod
    def _dates(self, sha256s: Sequence[str]) -> dict[str, str]:
        """Dates of those hashes that have a tombstone."""

    def _stale(self, user_id: str, version: int, stored: int) -> NoReturn:
        problem = (
            f"stale write: version {version} of user {user_id!r} came after version {stored}; nothing was written"
        )
        raise DataError(f"{problem}. Get the stored state, adapt it and put that", file=self.where)

    def _forgotten(self, user_id: str, date: str) -> NoReturn:
        problem = f"user {user_id!r} was erased on {date}; nothing was written"
        raise DataError(f"{problem}. Where the person came back, readmit=True takes them again", file=self.where)


def today() -> str:
    """The ISO date, UTC."""
    return datetime.now(UTC).date().isoformat()


def hashes(user_ids: Sequence[str]) -> dict[str, str]:
    """Each id once, with its sha256. Raises `DataError` for what is no list of ids."""
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
    """What will be stored; of one person's states the last. Raises `DataError` for a bad one, or for wrong order."""
    found: dict[str, Record] = {}
    for state in states:
        new = record(state)
        old = found.get(new.user_id)
        if old and old.version > new.version:
            problem = f"version {new.version} of user {new.user_id!r} follows version {old.version} in one put"
            raise DataError(f"stale write: {problem}; nothing was written")
        found[new.user_id] = new
    return list(found.values())


def record(state: UserState) -> Record:
    """The state as text. Raises `DataError` naming the user, without a word of the state."""
    if not state.user_id:
        raise DataError(f"a state of nobody (method {state.method!r}, user_id {state.user_id!r}) cannot be stored")
    if type(state.version) is not int or not 0 <= state.version < LARGEST:
        raise DataError(f"user {state.user_id!r}: a version is a whole number from 0 to 2**53")
    sha256 = hash_of(state.user_id)
    text = _written(state)
    if text is None:
        raise DataError(f"user {state.user_id!r}: the payload is no JSON (numbers must be finite, texts UTF-8)")
    return Record(state.user_id, sha256, state.version, text)


def _written(state: UserState) -> bytes | None:
    """None where it cannot be: the caller raises outside, because Python's own errors carry the text along."""
    try:
        text = state.to_json()
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
    """As `json.loads`, without its search for encodings and white space: a tenth of a look-up. None for no JSON."""
    try:
        whole = text.decode()
        data, end = DECODER.raw_decode(whole)
    except (ValueError, RecursionError):
        return None
    return data if end == len(whole) else None


def _fits(data: Mapping[str, Any], user_id: str) -> bool:
    """Written out: a look-up of many people comes here for each."""
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
        return "the state stored under this id is somebody else's"
    return "a field of the stored state is of another kind: another version wrote it"


def check_schema(found: str, where: str) -> None:
    """Raises `DataError` for a store of another layout, given as the text or number that it carries."""
    if found == str(SCHEMA):
        return
    newer = found.isdigit() and int(found) > SCHEMA
    what = "update persona_rm to read it" if newer else "write the states into a new store with this version"
    shown = found if found.isdigit() else "unknown"
    raise DataError(f"a profile store of layout {shown}; this version reads layout {SCHEMA}: {what}", file=where)
