"""The errors of this library. A message says what was asked for, what was there instead, and what to do."""

from typing import Literal

ErrorKind = Literal[
    "failed", "too_long", "no_token", "prompt", "user", "fatal", "not_finite", "late", "group", "busy", "down"
]
"""Why there is no reward, as programs read it; the message of the error is for readers.

Five kinds lie in the request or its user: `too_long`, `no_token`, `prompt` (its messages are no conversation for the
policy), `user` (what is known about the user cannot be used), and `fatal` (actors ended or stalled while they scored
it).
Four kinds say nothing about the request: `late` (the deadline passed), `group` (the other samples of its group did not
arrive in time), `busy` (there is no room in the queue) and `down` (no actor answers, or it is closing)."""


class PersonaRMError(Exception):
    """The base class of every error that this library raises on purpose."""


class RecipeError(PersonaRMError):
    """A recipe, or an override of one of its keys, does not follow the schema."""


class DataError(PersonaRMError):
    """A file or a row does not follow its format. The message names the file, the row and the key."""

    def __init__(self, problem: str, *, file: object = None, row: int | None = None, key: str | None = None) -> None:
        where = [str(part) for part in (file, row and f"row {row}", key and f"key {key!r}") if part]
        super().__init__(f"{', '.join(where)}: {problem}" if where else problem)
        self.problem, self.file, self.row, self.key = problem, file, row, key


class BrokenFile(DataError):
    """A file is cut or damaged: what stands behind the named place is lost, and nothing tells how much that is."""


class StaleWrite(DataError):
    """Another writer stored a state after the one that was read to make this one. Read it again, and repeat."""


class StoreDown(DataError):
    """The profile store does not answer now. This says nothing about the user, so a retry may succeed."""


class MemberError(RecipeError):
    """A zoo member that a recipe or a bundle names does not exist or has wrong settings. `key` is the key at fault."""

    def __init__(self, problem: str, key: str | None = None) -> None:
        super().__init__(f"{key}: {problem}" if key else problem)
        self.problem, self.key = problem, key


class UnknownName(MemberError):
    """There is no member, store or file of that name. The message lists the names that exist."""


class MissingExtra(PersonaRMError):
    """An optional package is not installed. The message holds the pip command that installs it."""


class ScoreError(PersonaRMError):
    """A reward could not be computed. `rows` are the positions of the failed requests in the batch; none of them has a
    reward. `cause` says what was missing, without a text and without a user id: logs and HTTP answers hold it. It is
    "" if the one who raised the error cannot promise that. `kind` and `cause` are kept between processes."""

    kind: ErrorKind = "failed"

    def __init__(
        self, problem: str, rows: tuple[int, ...] = (), kind: ErrorKind | None = None, *, cause: str = ""
    ) -> None:
        super().__init__(f"{problem} (requests {list(rows)})" if rows else problem)
        self.problem, self.rows, self.kind, self.cause = problem, rows, kind or self.kind, cause

    def at(self, *rows: int) -> "ScoreError":
        """The same error with other positions, for a caller whose batch numbers the requests differently."""
        return ScoreError(self.problem, rows, self.kind, cause=self.cause)


class Late(ScoreError):
    """There is no result within the deadline. This says nothing about the request, so a retry may succeed."""

    kind = "late"


class Full(ScoreError):
    """The queue is full, and the call does not wait for room. Another actor may have room."""

    kind = "busy"


class HostError(PersonaRMError):
    """The host (the trainer) is missing, has an unsupported version, or its job failed."""
