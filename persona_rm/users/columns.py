"""Which form a users file has, and which of its columns holds what.

The names of the columns decide, or a mapping such as {"user": "annotator_id"}. A column that no role uses is named in
the report, because a misspelt optional column would otherwise be lost without a word.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

from persona_rm.config import did_you_mean
from persona_rm.errors import DataError
from persona_rm.io.alignx_format import DEMO, PAIRS, UGC
from persona_rm.io.parquet import DIRECTIONS
from persona_rm.users.findings import named

NAMES: dict[str, tuple[str, ...]] = {
    "user": ("user", "user_id"),
    "prompt": ("prompt", "question", "instruction"),
    "chosen": ("chosen",),
    "rejected": ("rejected",),
    "a": ("a", "response_a", "answer_a"),
    "b": ("b", "response_b", "answer_b"),
    "choice": ("choice", "winner"),
    "response": ("response", "answer", "completion"),
    "value": ("value", "rating", "score", "vote"),
    "time": ("time", "created", "created_at", "timestamp", "date"),
    "strength": ("strength",),
    "group": ("group",),
    "pairs": ("pairs", "comparisons"),
    "ugc": ("ugc", "texts"),
    "demo": ("demo",),
    "directions": ("directions",),
}
"""The roles of columns, and the names by which each is recognised."""
USER_HINTS = ("annotator", "annotator_id", "worker", "worker_id", "rater", "rater_id", "author", "labeler", "person")
"""Columns that probably hold the user, for a suggestion: without `--map` they are not taken."""
ALIGNX = {UGC, PAIRS, DIRECTIONS, DEMO, "ground_truth_persona"}


@dataclass(frozen=True, slots=True)
class Form:
    """One form of users file."""

    name: str
    title: str
    needs: tuple[str, ...]
    optional: tuple[str, ...] = ()
    names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """More names of a role, in this form only."""

    def aliases(self, role: str) -> tuple[str, ...]:
        """The names by which a role is recognised in this form, the preferred one first."""
        return (*NAMES[role], *self.names.get(role, ()))

    @property
    def accepted(self) -> str:
        """The columns in words, for errors."""
        return f"{self.title} ({', '.join(self.needs)}; optional: {', '.join(self.optional)})"


FORMS = (
    Form(
        "users", "one row per user", ("user",), ("pairs", "ugc", "demo", "directions", "group"),
        names={"user": ("id",)},
    ),
    Form(
        "comparisons", "one row per comparison", ("user", "chosen", "rejected"),
        ("prompt", "time", "strength", "group"),
    ),
    Form("choices", "one row per comparison", ("user", "a", "b", "choice"), ("prompt", "time", "strength", "group")),
    Form("ratings", "one row per rating", ("user", "prompt", "response", "value"), ("time", "group")),
)  # fmt: skip
ALIGNX_FORM = Form("alignx", "AlignX examples", ("prompt", "chosen", "rejected"))
LISTS = frozenset({"pairs", "ugc"})
ABOUT_USER = LISTS | {"demo", "directions"}
"""Roles that only a row per user has."""
BEHAVIOUR = frozenset({"chosen", "rejected", "a", "b", "choice", "response", "value"})
"""Roles that a row per comparison or per rating has, and a row per user has not."""


@dataclass(frozen=True, slots=True)
class Columns:
    """The form of a file, and the column of each of its roles."""

    form: Form
    of: Mapping[str, str]
    unused: tuple[str, ...] = ()

    def describe(self) -> str:
        """ "one row per comparison; columns annotator_id as user, prompt, chosen, rejected" """
        used = (column if column in NAMES[role] else f"{column} as {role}" for role, column in self.of.items())
        return f"{self.form.title}; columns {', '.join(used)}" if self.of else self.form.title

    def doubled(self) -> list[tuple[str, str]]:
        """(unused column, the column that is read instead), for columns whose names mean the same role."""
        roles = {name: role for role in self.of for name in self.form.aliases(role)}
        named_so = ((column, roles.get(plain(column))) for column in self.unused)
        return [(column, self.of[role]) for column, role in named_so if role is not None]

    def misspelt(self) -> list[tuple[str, str]]:
        """(unused column, the name it is close to), for optional columns that were probably meant."""
        free = [name for role in self.form.optional if role not in self.of for name in self.form.aliases(role)]
        close = [(column, get_close_matches(plain(column), free, n=1, cutoff=0.8)) for column in self.unused]
        return [(column, matches[0]) for column, matches in close if matches]


def parse_map(given: Sequence[str]) -> dict[str, str]:
    """The mapping that `--map user=annotator_id --map chosen=better` says, from role to column.

    Raises `DataError` for a word without "=", a role that does not exist, or one that comes twice.
    """
    mapping: dict[str, str] = {}
    for word in given:
        role, equals, column = word.partition("=")
        if not equals or not column.strip():
            raise DataError(f"--map {word}: write ROLE=COLUMN, such as --map user=annotator_id")
        role = role_of(role.strip())
        if role in mapping:
            raise DataError(f"--map {word}: the role {role} is mapped twice")
        mapping[role] = column.strip()
    return mapping


def role_of(name: str) -> str:
    """The role of this name, or of a column that is recognised as it. Raises `DataError` with the roles there are."""
    for role, names in NAMES.items():
        if name == role or name in names:
            return role
    if name == "id":
        return "user"
    raise DataError(f"no role {name!r} of a column; the roles are: {', '.join(NAMES)}{did_you_mean(name, NAMES)}")


def mapped_roles(columns: Sequence[str], mapping: Mapping[str, str], file: object) -> dict[str, str]:
    """The mapping by role. Raises `DataError` if the file has no column of a mapped name."""
    roles = {role_of(role): column for role, column in mapping.items()}
    for role, column in roles.items():
        if column not in columns:
            problem = f"mapped to {role}, but the file has no such column{did_you_mean(column, columns)}"
            raise DataError(f"{problem}; its columns are: {named(columns)}", file=file, key=column)
    return roles


def detect(columns: Iterable[str], mapping: Mapping[str, str], file: object) -> Columns:
    """The form of a file with these columns. Raises `DataError` if none fits, with what is missing and accepted."""
    every = tuple(column for column in dict.fromkeys(columns) if column)
    roles = mapped_roles(every, mapping, file)
    if not roles and len(ALIGNX & set(every)) > 0 and {"prompt", "chosen", "rejected"} <= set(every):
        return Columns(ALIGNX_FORM, {})
    for form in _plausible(every, roles):
        of = _assigned(form, every, roles)
        if set(form.needs) <= of.keys():
            return Columns(form, of, tuple(column for column in every if column not in of.values()))
    raise _no_form(every, roles, file)


def plain(column: str) -> str:
    """The name of a column as it is compared: small letters, with _ for spaces and hyphens."""
    return column.strip().lower().replace(" ", "_").replace("-", "_")


def _plausible(every: Sequence[str], roles: Mapping[str, str]) -> tuple[Form, ...]:
    """The forms to try: a row per user has no column of a single comparison or rating."""
    per_user, *per_row = FORMS
    plains = {plain(column) for column in every}
    has = {role for role in NAMES if role in roles or not plains.isdisjoint(NAMES[role])}
    if has & LISTS or (has & ABOUT_USER and not has & BEHAVIOUR):
        return (per_user,)
    # A file of nothing but users is a list of users without history. With other columns it is something else.
    alone = len(every) == len(_assigned(per_user, every, roles))
    return (per_user,) if alone and not has & BEHAVIOUR else tuple(per_row)


def _assigned(form: Form, every: Sequence[str], roles: Mapping[str, str]) -> dict[str, str]:
    """role -> column. A mapped role is taken as given, the others by the first of their names that is there."""
    free = {plain(column): column for column in reversed(every) if column not in roles.values()}
    # A column that is named exactly so wins over another that differs in case or spaces.
    free |= {column: column for column in every if column == plain(column) and column not in roles.values()}
    of: dict[str, str] = {}
    for role in (*form.needs, *form.optional):
        matches = [free[name] for name in form.aliases(role) if name in free]
        if role in roles or matches:
            of[role] = roles.get(role) or matches[0]
    return of


def _no_form(every: Sequence[str], roles: Mapping[str, str], file: object) -> DataError:
    """What is missing for the form that comes closest, and which columns may be meant."""
    form = max(_plausible(every, roles), key=lambda one: len(_assigned(one, every, roles)) / len(one.needs))
    of = _assigned(form, every, roles)
    missing = [role for role in form.needs if role not in of]
    rest = {plain(column): column for column in every if column not in of.values()}
    hints = []
    for role in missing:
        close = get_close_matches(role, rest, n=1) or [name for name in USER_HINTS if role == "user" and name in rest]
        if close:
            column = rest[close[0]]
            hints.append(f"did you mean {column!r}? Rename it to {role}, or give --map {role}={column}")
    problem = f"no column for {', '.join(missing)}; the columns are: {named(every)}"
    problem += f"; {'; '.join(hints)}" if hints else " (is the header missing?)"
    accepted = "; ".join(one.accepted for one in FORMS)
    return DataError(f"{problem}. A users file has {accepted}; or AlignX examples", file=file)
