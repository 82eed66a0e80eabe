"""A team's own users file, in any of its forms, as `User` records.

    data = read_users_data("ratings.csv", {"user": "annotator_id"})
    print(data.describe())

Forms, recognised by the columns (`columns.FORMS`): one row per user, per comparison (`chosen`/`rejected`, or `a`/`b`
and a choice) or per rating, and AlignX examples. Formats, recognised by the content (`raw_rows`): JSON lines, a JSON
array, CSV, Parquet, a folder of `datasets`. Prompts and responses are text or chat messages (`prompts.chat_messages`).

A row that cannot be read is left out and counted, with file, row and key. If more than `TOLERATED` of the rows are so,
or all of them, the file is refused. `users_file.read_users`, the reader of a bundle's own file, refuses any bad row.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path

from persona_rm.errors import BrokenFile, DataError
from persona_rm.io.json_rows import JsonRow
from persona_rm.space import PreferenceSpace, load_space
from persona_rm.users.cells import CellReader
from persona_rm.users.columns import Columns, detect
from persona_rm.users.drafts import Drafts
from persona_rm.users.findings import UNREADABLE, FileFinding, Findings
from persona_rm.users.rating_form import RatingForm
from persona_rm.users.raw_rows import RawTable, open_table
from persona_rm.users.row_forms import AlignXForm, ChoiceForm, ComparisonForm, RowForm, UserForm
from persona_rm.users.user_checks import check_users
from persona_rm.users.users_file import User

TOLERATED = 0.05
"""The share of rows that may be left out as unreadable."""
LOOKED_AT = 100
"""Number of rows whose keys are the columns of a JSON file."""
PROGRESS = 10_000
"""Rows between two calls of `progress`."""
READERS: dict[str, type[RowForm]] = {
    "users": UserForm,
    "comparisons": ComparisonForm,
    "choices": ChoiceForm,
    "ratings": RatingForm,
    "alignx": AlignXForm,
}


@dataclass(frozen=True, slots=True)
class UsersData:
    """The users of a file, and what reading it noticed."""

    path: Path
    users: list[User]
    columns: Columns
    rows: int
    """Number of rows that were read."""
    remark: str = ""
    findings: list[FileFinding] = field(default_factory=list)

    @property
    def form(self) -> str:
        """The form: users, comparisons, choices, ratings or alignx."""
        return self.columns.form.name

    @property
    def n_pairs(self) -> int:
        """The number of comparisons of all users."""
        return sum(len(user.persona.pairs) for user in self.users)

    @property
    def n_texts(self) -> int:
        """The number of texts that users wrote."""
        return sum(len(user.persona.ugc) for user in self.users)

    def summary(self) -> str:
        """A sentence: "users.csv: 120 comparisons of 20 users (one row per comparison; columns user, ...)"."""
        parts = [_count(self.n_pairs, "comparison")] if self.n_pairs or not self.n_texts else []
        parts += [_count(self.n_texts, "text")] if self.n_texts else []
        read = f"{_count(self.rows, 'rating')}, from which come " if self.form == "ratings" else ""
        of = f"{read}{' and '.join(parts)} of {_count(len(self.users), 'user')}"
        remark = f"; {self.remark}" if self.remark else ""
        return f"{self.path.name}: {of} ({self.columns.describe()}{remark})"

    def describe(self) -> str:
        """The summary, then one line per finding."""
        return "\n".join([self.summary(), *(finding.describe() for finding in self.findings)])


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def read_users_data(
    path: str | Path,
    columns: Mapping[str, str] | None = None,
    *,
    space: PreferenceSpace | None = None,
    progress: Callable[[int], None] | None = None,
) -> UsersData:
    """Read a users file.

    `columns` maps roles to the file's names (`columns.parse_map`). `space` is that of the directions, alignx90 by
    default. `progress` is called with the number of rows read so far.

    Raises `DataError` if the file is missing, empty, in no known format or form, not UTF-8, holds no user, or if more
    than `TOLERATED` of its rows cannot be read.
    """
    table, findings, broken = open_table(path), Findings(), 0

    def lose(error: DataError) -> None:
        nonlocal broken
        if isinstance(error, BrokenFile):
            # Users with a part of their comparisons would be fitted as if it were all of them.
            what = f"{error.problem}; the rows behind this place are missing: copy or download the file again"
            raise DataError(what, file=error.file, row=error.row) from error
        broken += 1
        findings.bad(error)

    rows = table.rows(lose)
    head = list(islice(rows, LOOKED_AT))
    if not head:
        raise _nothing(table, findings)
    names = dict.fromkeys(key for row in head for key in row.data)
    detected = detect(names, columns or {}, path)
    cells = CellReader(space or load_space(), findings, cells_are_text=table.format == "CSV")
    drafts = Drafts()
    reader = READERS[detected.form.name](detected, cells, drafts, findings)
    for count, row in enumerate(chain(head, rows), start=1):
        if not names.keys() >= row.data.keys():
            # An optional key may first be in a late row of JSON.
            names |= dict.fromkeys(row.data)
            reader.columns = _same_form(row, detect(names, columns or {}, path), detected)
        try:
            reader.add(row)
        except DataError as error:
            findings.bad(error)
        if progress is not None and count % PROGRESS == 0:
            progress(count)
    _check_share(table, cells, reader.units + broken, findings)
    reader.finish()
    users = list(drafts.users())
    _note_columns(reader.columns, findings)
    check_users(users, findings)
    return UsersData(Path(path), users, reader.columns, count, table.remark, findings.results())


def _same_form(row: JsonRow, columns: Columns, before: Columns) -> Columns:
    """The columns after a row with new keys. Raises `DataError` if these make the file one of another form."""
    if columns.form is not before.form:
        problem = f"with its keys the file is one of {columns.form.name}, before it was one of {before.form.name}"
        raise DataError(f"{problem}; keep the two in files of their own", file=row.file, row=row.number)
    return columns


def _nothing(table: RawTable, findings: Findings) -> DataError:
    if findings.first is None:
        return DataError("the table has no rows", file=table.path)
    return DataError(f"none of its rows can be read; the first: {findings.first}", file=table.path)


def _check_share(table: RawTable, cells: CellReader, every: int, findings: Findings) -> None:
    """Raises `DataError` if the file is in another encoding, or if too many rows were left out."""
    if cells.foreign is not None and not cells.beyond_ascii:
        # A damaged row of a UTF-8 file stands among good ones; here no text beyond ASCII is UTF-8.
        problem = "the file is not UTF-8, but probably latin-1 (ISO 8859-1) or Windows-1252"
        todo = "convert it: iconv -f windows-1252 -t utf-8 FILE > NEW"
        where = cells.foreign
        raise DataError(f"{problem}; {todo}", file=where.file, row=where.row, key=where.key)
    bad = findings[UNREADABLE]
    if bad > TOLERATED * every:
        shares = f"{bad / every:.1%}; up to {TOLERATED:.0%} would be left out"
        problem = f"{bad:,} of {every:,} rows or items cannot be read ({shares})"
        raise DataError(f"{problem}; the first: {findings.first}", file=table.path)


def _note_columns(columns: Columns, findings: Findings) -> None:
    for column, taken in columns.doubled():
        problem = "columns could hold the same as another one that is read; --map ROLE=COLUMN takes this one"
        findings.add("second_column", "warning", problem, f"{column!r}, and {taken!r} is read")
    for column, meant in columns.misspelt():
        findings.add(
            "misspelt_column", "warning", "columns are not used but nearly named so", f"{column!r}: {meant!r}?"
        )
    if columns.unused:
        unused = ", ".join(columns.unused[:12])
        findings.add("unused_columns", "note", "columns are not used", unused, len(columns.unused))
