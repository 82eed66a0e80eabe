"""What can go wrong, in a handful of classes. A message says what was asked, what was found and what to do."""


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


class UnknownName(PersonaRMError):
    """A zoo has no member of that name. The message lists those it has."""


class MissingExtra(PersonaRMError):
    """An optional package is not installed. The message carries the pip command."""


class ScoreError(PersonaRMError):
    """A reward could not be computed. `rows` are the positions of the requests that failed: none of them got a
    number."""

    def __init__(self, problem: str, rows: tuple[int, ...] = ()) -> None:
        super().__init__(f"{problem} (requests {list(rows)})" if rows else problem)
        self.problem, self.rows = problem, rows


class HostError(PersonaRMError):
    """The host (OpenRLHF) is missing, has an unsupported version, or its job failed."""
