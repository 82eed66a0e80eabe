"""What can go wrong, in a handful of classes. A message says what was asked, what was found and what to do."""

from typing import Literal

ErrorKind = Literal["failed", "too_long", "no_token", "not_finite", "late", "group", "busy", "down"]
"""Why there is no reward, for programs; the message is for people. `late`, `group` (its other samples did not come in
time), `busy` (no room) and `down` (no actor answers, or it is closing) say nothing about the request."""


class PersonaRMError(Exception):
    """Base of every error that this library raises on purpose."""


class RecipeError(PersonaRMError):
    """A recipe, or an override of one, does not say what the schema allows."""


class DataError(PersonaRMError):
    """A file or row is not what its format promises. The message names file, row and key."""

    def __init__(self, problem: str, *, file: object = None, row: int | None = None, key: str | None = None) -> None:
        where = [str(part) for part in (file, row and f"row {row}", key and f"key {key!r}") if part]
        super().__init__(f"{', '.join(where)}: {problem}" if where else problem)
        self.problem, self.file, self.row, self.key = problem, file, row, key


class MemberError(RecipeError):
    """A zoo member that a recipe or a bundle names does not exist or has wrong settings. `key` is the key at fault."""

    def __init__(self, problem: str, key: str | None = None) -> None:
        super().__init__(f"{key}: {problem}" if key else problem)
        self.problem, self.key = problem, key


class UnknownName(MemberError):
    """There is no member, store or file of that name. The message lists the names that exist."""


class MissingExtra(PersonaRMError):
    """An optional package is not installed. The message carries the pip command."""


class ScoreError(PersonaRMError):
    """A reward could not be computed. `rows` are the positions of the requests that failed: none of them got a
    number. `kind` travels with it, also between processes."""

    kind: ErrorKind = "failed"

    def __init__(self, problem: str, rows: tuple[int, ...] = (), kind: ErrorKind | None = None) -> None:
        super().__init__(f"{problem} (requests {list(rows)})" if rows else problem)
        self.problem, self.rows, self.kind = problem, rows, kind or self.kind

    def at(self, *rows: int) -> "ScoreError":
        """The same error with other positions, for a caller that counts its requests differently."""
        return ScoreError(self.problem, rows, self.kind)


class Late(ScoreError):
    """No result within the deadline. Nothing was decided about the request: it may be asked again."""

    kind = "late"


class Full(ScoreError):
    """There is no room, and the caller does not wait for it: it may ask another actor."""

    kind = "busy"


class HostError(PersonaRMError):
    """The host (the trainer) is missing, has an unsupported version, or its job failed."""
