"""The users of a file while it is read: evidence is added row by row, in the order of the file."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from persona_rm.types import Directions, Pair, Persona, Ugc
from persona_rm.users.users_file import NO_GROUP, User


@dataclass(slots=True)
class Draft:
    """What is known about one user so far. `row` is the row that named the user first."""

    row: int
    pairs: list[Pair] = field(default_factory=list)
    ugc: list[Ugc] = field(default_factory=list)
    demo: str = ""
    directions: Directions | None = None
    group: str = ""


class Drafts:
    """Drafts by user id."""

    def __init__(self) -> None:
        self.of: dict[str, Draft] = {}

    def get(self, user: str, row: int) -> Draft:
        """The draft of this user, a new one if the user is new."""
        draft = self.of.get(user)
        if draft is None:
            draft = self.of[user] = Draft(row)
        return draft

    def users(self) -> Iterator[User]:
        """Every user, in the order of the file. Each draft is dropped once its user is made, to save memory."""
        for user in list(self.of):
            draft = self.of.pop(user)
            persona = Persona(user, tuple(draft.ugc), tuple(draft.pairs), draft.demo, draft.directions)
            yield User(persona, draft.group or NO_GROUP)
