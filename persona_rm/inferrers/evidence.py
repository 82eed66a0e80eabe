"""Evidence as every inferrer reads it: one record per item, with votes and without text.

An item's id is a hash of what it says, so the same item given twice is the same item; no text of a user is kept.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from persona_rm.errors import DataError
from persona_rm.types import Directions, Pair, Persona, Ugc, content_id

STRONGEST = 5
"""So many items are named behind a direction."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that says something about a user: -1, 0 or 1 on every dimension of the space."""

    id: str
    source: str
    """What kind of evidence: "ugc", "pair", "demo", "critique", "summary", or the name of an import."""
    votes: Directions
    created: str | None = None
    """ISO 8601; None if the date is unknown."""

    @property
    def when(self) -> float | None:
        """Seconds since 1970; without a zone UTC is meant. Raises `DataError` for what is no ISO 8601, or to come."""
        if self.created is None:
            return None
        try:
            when = datetime.fromisoformat(self.created)
        except (TypeError, ValueError) as error:
            raise DataError(f"item {self.id}: `created` must be ISO 8601, found {self.created!r}") from error
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        # A date without a zone is read as UTC and may be up to 14 hours ahead of it, so a day is allowed.
        if when > datetime.now(UTC) + timedelta(days=1):
            raise DataError(f"item {self.id} is dated {self.created}, which has not come yet: every other would fade")
        return when.timestamp()


def items_of(persona: Persona, size: int) -> list[Item]:
    """The persona's items, UGC first, repeated ones too.

    Raises `DataError` naming user and item if directions are missing, or are not `size` values of -1, 0 and 1.
    """
    named: list[tuple[str, Ugc | Pair]] = [(f"ugc[{i}]", item) for i, item in enumerate(persona.ugc)]
    named += [(f"pairs[{i}]", item) for i, item in enumerate(persona.pairs)]
    items = []
    for where, item in named:
        votes = check_votes(item.directions, f"user {persona.user_id!r}, {where}", size)
        items.append(replace(bare_item(item), votes=votes))
    return items


def distinct(items: Iterable[Item]) -> list[Item]:
    """Each id once, in the order of first appearance: a repeated item counts once."""
    first: dict[str, Item] = {}
    for item in items:
        first.setdefault(item.id, item)
    return list(first.values())


def behind(said: Iterable[tuple[str, int, float]], direction: int) -> tuple[str, ...]:
    """The ids of those that vote for this direction, strongest first, of the same strength by id; at most
    `STRONGEST`. `said`: id, vote and strength of each; what has no strength is not named."""
    strengths = {id_: strength for id_, vote, strength in said if vote == direction and strength > 0}
    return tuple(sorted(strengths, key=lambda id_: (-strengths[id_], id_))[:STRONGEST])


def check_votes(votes: Sequence[int] | None, where: str, size: int) -> Directions:
    """The votes as a tuple. Raises `DataError` naming `where`."""
    if votes is None:
        todo = "annotate the items before, or name an annotator and an inferrer that asks it (llm)"
        raise DataError(f"{where} carries no directions: {todo}")
    if len(votes) != size or not {-1, 0, 1}.issuperset(votes):
        raise DataError(f"{where} needs {size} directions of -1, 0 or 1, found {list(votes)[:8]}...")
    return tuple(votes)


def bare_item(item: Ugc | Pair) -> Item:
    """The item with its id and date, without votes: for those who only order items. Ids are those of `items_of`."""
    if isinstance(item, Ugc):
        return Item(content_id("ugc", item.prompt, item.comment), "ugc", (), item.created)
    return Item(content_id("pair", item.prompt, item.chosen, item.rejected), "pair", (), item.created)
