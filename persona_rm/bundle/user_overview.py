"""The users of a users file or a bundle, with the amount of evidence about each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from persona_rm.bundle.bundle import Bundle
from persona_rm.bundle.bundle_file import YAML
from persona_rm.bundle.load import load_bundle
from persona_rm.bundle.user_states import CHUNK
from persona_rm.errors import DataError
from persona_rm.io.text import counted
from persona_rm.types import Persona, UserState
from persona_rm.users.read_file import read_users_data
from persona_rm.users.users_file import NO_GROUP, User


@dataclass(frozen=True, slots=True)
class UserOverview:
    """How much is known about one user."""

    user_id: str
    group: str
    pairs: int
    """Comparisons, ties included."""
    ties: int
    """Comparisons that do not say what the user prefers."""
    texts: int
    """Texts that the user wrote."""
    first: str | None
    """The earliest date of an item, as the file writes it; None if no item has a date."""
    last: str | None
    directions: int | None
    """Directions that are not neutral; None if none were given and nothing inferred any."""
    items: int
    """Items of evidence in the state that holds now, those of a profile store included. A tie is no evidence."""

    def as_json(self) -> dict[str, Any]:
        """Plain JSON of the record."""
        return asdict(self)


def overviews(source: Path, columns: Mapping[str, str] | None = None) -> Iterator[UserOverview]:
    """The users of a users file, or of a bundle with the users that only its store knows. An erased user is left out.

    `columns`: columns of the file under other names. Raises `DataError` naming file, row and key, and for `columns` of
    a bundle.
    """
    if not (source / YAML).is_file():
        yield from (_of_file(user) for user in read_users_data(source, columns).users)
        return
    if columns:
        raise DataError("this is a bundle, which has no columns: leave out --map", file=source)
    bundle = load_bundle(source)
    ids = chain(bundle.users, (id_ for id_ in bundle.store.ids() if id_ not in bundle.users) if bundle.store else ())
    while part := list(islice(ids, CHUNK)):
        for state in bundle.user_states.find([(user_id, "") for user_id in part]):
            if state.known:
                yield _of_bundle(bundle, state)


def totals(rows: Sequence[UserOverview]) -> str:
    """How many users, comparisons and texts these are, in words."""
    bare = sum(not row.items for row in rows)
    pairs, ties = sum(row.pairs for row in rows), sum(row.ties for row in rows)
    comparisons = f"{counted(pairs, 'comparison')}{f' ({ties:,} of them ties)' if ties else ''}"
    said = f"{counted(len(rows), 'user')}, {comparisons}, {counted(sum(row.texts for row in rows), 'text')}"
    return f"{said}; {counted(bare, 'user')} without evidence (a tie is none)" if bare else said


def _of_file(user: User) -> UserOverview:
    persona = user.persona
    directions = None if persona.directions is None else sum(map(bool, persona.directions))
    return _overview(persona, user.group, directions, persona.n_items - persona.n_ties)


def _of_bundle(bundle: Bundle, state: UserState) -> UserOverview:
    directions = None if state.directions is None else sum(map(bool, state.directions))
    user_id = str(state.user_id)
    user = bundle.users.get(user_id, User(Persona(user_id), NO_GROUP))
    return _overview(user.persona, user.group, directions, state.n_items)


def _overview(persona: Persona, group: str, directions: int | None, items: int) -> UserOverview:
    dates = sorted(item.created for item in persona.items if item.created)
    first, last = (dates[0], dates[-1]) if dates else (None, None)
    return UserOverview(
        persona.user_id, group, len(persona.pairs), persona.n_ties, len(persona.ugc), first, last, directions, items
    )
