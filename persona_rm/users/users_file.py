"""users.jsonl: one user per line, with the evidence about them and the group whose curve they count in."""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from persona_rm.io.alignx_format import strength_of
from persona_rm.io.json_rows import JsonRow, read_rows
from persona_rm.io.user_ids import need_user
from persona_rm.space import PreferenceSpace
from persona_rm.types import Directions, Pair, Persona, Ugc

NO_GROUP = "all"


@dataclass(frozen=True, slots=True)
class User:
    """One line of users.jsonl: the evidence, and the group whose curve this user counts in."""

    persona: Persona
    group: str = NO_GROUP


def read_users(path: Path, space: PreferenceSpace) -> Iterator[User]:
    """The users of a users file. Raises `DataError` at the first row that is not one, or comes twice."""
    return checked_users(read_rows(path), space)


def checked_users(rows: Iterable[JsonRow], space: PreferenceSpace) -> Iterator[User]:
    """The users of these rows. Raises `DataError` at the first row that is not one, or comes twice."""
    seen: dict[str, int] = {}
    for row in rows:
        user = _user(row, space)
        first = seen.setdefault(user.persona.user_id, row.number)
        if first != row.number:
            raise row.error(f"user {user.persona.user_id!r} is already in row {first}", "user_id")
        yield user


_USER_KEYS = {"user_id", "ugc", "pairs", "demo", "directions", "group"}


def _user(row: JsonRow, space: PreferenceSpace) -> User:
    for key in row.data.keys() - _USER_KEYS:
        raise row.error(f"unknown key; a user has: {', '.join(sorted(_USER_KEYS))}", key)
    ugc = tuple(
        Ugc(r.text("prompt"), r.text("comment"), _directions(r, space), r.nullable("created", str))
        for r in row.children("ugc")
    )
    pairs = tuple(
        Pair(
            r.text("prompt"),
            r.text("chosen"),
            r.text("rejected"),
            _directions(r, space),
            r.nullable("created", str),
            strength_of(r),
        )
        for r in row.children("pairs")
    )
    persona = Persona(need_user(row, "user_id"), ugc, pairs, row.nullable("demo", str) or "", _directions(row, space))
    return User(persona, row.nullable("group", str) or NO_GROUP)


def _directions(row: JsonRow, space: PreferenceSpace) -> Directions | None:
    values = row.nullable("directions", list)
    if values is None:
        return None
    if len(values) != len(space):
        raise row.error(f"{len(values)} directions; the space {space.name} has {len(space)}", "directions")
    for value in values:
        if isinstance(value, bool) or value not in (-1, 0, 1):
            raise row.error(f"a direction is -1, 0 or 1, found {value!r}", "directions")
    return tuple(int(value) for value in values)


def user_row(user: User | Persona) -> dict[str, Any]:
    """The line of this user, as `read_users` reads it."""
    user = user if isinstance(user, User) else User(user)
    row = asdict(user.persona)
    for pair in row["pairs"]:
        if pair["strength"] is None:
            del pair["strength"]
    return {**row, "group": user.group}
