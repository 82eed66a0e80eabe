"""Rows of a file, each for the users that it belongs to: read in a stream, worked on in batches, written resumably."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field
from rich.console import Console

from persona_rm import __version__
from persona_rm.bundle import Bundle
from persona_rm.bundle.engine_counters import cut_remark
from persona_rm.config import Config, did_you_mean
from persona_rm.errors import DataError
from persona_rm.io.json_rows import JsonRow, atomic, content_hash
from persona_rm.io.parquet import count_rows
from persona_rm.io.progress_bar import progress_bar
from persona_rm.io.resumable import ResumableRows
from persona_rm.io.unpacked import open_binary
from persona_rm.io.user_ids import near_user, need_user
from persona_rm.pipeline.run import file_hash
from persona_rm.pipeline.stages.pair_report import NAMED, PRIOR, PairReport, kind_of
from persona_rm.users.columns import mapped_roles
from persona_rm.users.raw_rows import READERS, RawTable, open_table
from persona_rm.users.read_file import LOOKED_AT


class UserRowsConfig(Config):
    """How rows find their users, and what counts as a preference."""

    roles: ClassVar[tuple[str, ...]] = ("user", "prompt")
    """What is read of a row."""
    user_column: str = "user"
    """The column that names the user of a row. Whole numbers are fine."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Role -> column of the file, for those of `roles` that have another name in it (`users.columns.parse_map`)."""
    users: tuple[str, ...] = ()
    """If given, every row is used for each of these users."""
    min_margin: float = Field(0.0, ge=0, allow_inf_nan=False)
    """The smallest difference of rewards that is a preference."""
    strict: bool = False
    """Raise `DataError` for a user that the bundle does not know."""
    batch: int = Field(256, gt=0)
    """Rows (one for each user) that are worked on together."""
    seed: int = 0


@dataclass(frozen=True, slots=True)
class UserRow:
    """A row of the input, and one of its users."""

    row: JsonRow
    user: str

    def error(self, problem: str, key: str) -> DataError:
        """The fault of this row for this user, without the row's texts."""
        return self.row.error(f"user {self.user!r}: {problem}", key)

    @property
    def name(self) -> str:
        """What a random draw of this row and user depends on, beside the seed."""
        return f"{Path(self.row.file).name}/{self.row.number}/{self.user}"


Worked = tuple[list[dict[str, Any]], list[DataError]]
"""The rows to write, and the faults."""
Work = Callable[[Sequence[UserRow]], Worked]


class UserRowsJob:
    """Reads files, gives their rows to `work` in batches and writes what it returns.

    A fault costs its row and is written to `NAME_quarantine.jsonl`. An interrupted job continues where its last record
    says if files, bundle and settings are the same.
    """

    def __init__(self, path: str, out: Path, config: UserRowsConfig, bundle: Bundle, report: PairReport) -> None:
        if out.suffix != ".jsonl":
            raise DataError("the rows are written as JSON lines: give a name that ends in .jsonl", file=out)
        self.table, self.out, self.config = open_table(path), out, config
        if out.is_dir():
            raise DataError("this is a folder; name a new file", file=out)
        if out.resolve() in {file.resolve() for file in self.table.files}:
            raise DataError("the output is the input, which would be replaced; name another file", file=out)
        self.bundle, self.report = bundle, report
        report.known = list(islice(bundle.users, NAMED))
        self.first: DataError | None = None
        """The first fault."""
        self.columns = _mapped(self.table, config)
        self.user_column = self.columns.pop("user", config.user_column)

    def run(self, work: Work, about: Mapping[str, Any], console: Console | None = None, every: float = 5.0) -> None:
        """Do all that is left. `about` names what else the rows depend on; the report begins with it.

        Raises `DataError` if no row was written. `every`: see `ResumableRows`.
        """
        kept = ResumableRows(self.out, self._key(about), every)
        if kept.resumed:
            self.report.restore(kept.state)
        with progress_bar(console, self.out.name, _rows_in(self.table)) as update:
            for position, batch, faults in self._batches(kept.position):
                rows: list[dict[str, Any]] = []
                wrong = list(faults)
                for start in range(0, len(batch), self.config.batch):
                    made, bad = work(batch[start : start + self.config.batch])
                    rows += made
                    wrong += [self._in_the_file(fault) for fault in bad]
                self.report.bad_rows += len(wrong)
                self.first = self.first or next(iter(wrong), None)
                kept.add(rows, wrong, position, self.report.state)
                update(position[-1])
        written = kept.finish()
        self.report.remark = "; ".join(filter(None, (self.report.remark, cut_remark(self.bundle.engine_counters()))))
        path = self.out.with_name(f"{self.out.stem}_report.json")
        with atomic(path) as temporary:
            content = self.report.to_json({**about, "settings": self.config.model_dump(mode="json")})
            temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if not written:
            more = f", and {self.report.bad_rows:,} bad rows are in {kept.quarantine}" if self.report.bad_rows else ""
            more += f"; the first: {self.first}" if self.first else ""
            raise DataError(f"no row was written: {path.name} says why{more}", file=self.out)

    def kind(self, item: UserRow, prompt: str) -> str:
        """What the bundle knows about the user (`kind_of`). Raises `DataError` for an unknown user if the settings are
        strict."""
        kind = kind_of(self.bundle.inferred(item.user, prompt))
        if self.config.strict and kind in PRIOR:
            why = "was erased from the bundle" if kind == "erased" else "is not in the bundle"
            why += near_user(item.user, self.bundle.users) if kind == "unknown" else ""
            problem = f"user {item.user!r} {why}; without --strict the population prior decides"
            raise item.row.error(problem, "users" if self.config.users else self.user_column)
        return kind

    def _users_of(self, row: JsonRow) -> tuple[str, ...]:
        if self.config.users:
            return self.config.users
        column = self.user_column
        if column in row.data:
            return (need_user(row, column),)
        problem = f"no such column; --user-column names that of the users, and the row has: {', '.join(row.data)}"
        raise row.error(f"{problem}{did_you_mean(column, row.data)}", column)

    def _renamed(self, row: JsonRow) -> JsonRow:
        """The row with its mapped columns under the names of their roles."""
        if not self.columns:
            return row
        names = {column: role for role, column in self.columns.items()}
        return replace(row, data={names.get(key, key): value for key, value in row.data.items()})

    def _in_the_file(self, fault: DataError) -> DataError:
        """The fault with the file's own name of its column."""
        column = self.columns.get(fault.key or "", fault.key)
        return DataError(fault.problem, file=fault.file, row=fault.row, key=column)

    def _key(self, about: Mapping[str, Any]) -> dict[str, Any]:
        files = [[file.name, content_hash(file)] for file in self.table.files]
        settings = self.config.model_dump(mode="json")
        return {**about, "files": files, "bundle": file_hash(self.bundle.folder), "settings": settings,
                "code": __version__}  # fmt: skip

    def _batches(self, after: Sequence[int]) -> Iterator[tuple[list[int], list[UserRow], list[DataError]]]:
        """(position behind the batch, its rows, the faults on the way). A position is [file, row, rows in all]."""
        batch: list[UserRow] = []
        faults: list[DataError] = []
        position = list(after) or [0, 0, 0]
        for place, number, row in _numbered(self.table, position):
            position = [place, number, position[2] + 1]
            try:
                if isinstance(row, DataError):
                    raise row
                named = self._renamed(row)
                batch += [UserRow(named, user) for user in self._users_of(named)]
            except DataError as error:
                faults.append(error)
            if len(batch) >= self.config.batch:
                yield position, batch, faults
                batch, faults = [], []
        if batch or faults:
            yield position, batch, faults


def _mapped(table: RawTable, config: UserRowsConfig) -> dict[str, str]:
    """The columns that the settings map, by role. Raises `DataError` for a role that rows do not have, a column that
    the file does not have, and two columns for one role."""
    if not config.columns:
        return {}
    names = dict.fromkeys(key for row in islice(table.rows(lambda _: None), LOOKED_AT) for key in row.data)
    roles = mapped_roles(tuple(names), config.columns, table.path)
    for role, column in roles.items():
        if role not in config.roles:
            raise DataError(f"--map {role}={column}: a row here has only: {', '.join(config.roles)}", file=table.path)
        if role == "user" and config.user_column not in (UserRowsConfig().user_column, column):
            raise DataError(f"--map names the user's column {column!r}, and --user-column {config.user_column!r}")
        if role != "user" and role in names and role != column:
            problem = f"mapped to {role}, but there is a column {role!r} too, which the written rows would lose"
            raise DataError(f"{problem}: rename or remove one of them", file=table.path, key=column)
    return roles


def _numbered(table: RawTable, after: Sequence[int]) -> Iterator[tuple[int, int, JsonRow | DataError]]:
    """(file, row number, row or fault) of all that comes after the position, in order."""
    for place, file in enumerate(table.files):
        faults: list[DataError] = []
        for row in READERS[table.format](file, faults.append):
            yield from _behind(place, after, [*faults, row])
            faults.clear()
        yield from _behind(place, after, faults)


def _behind(
    place: int, after: Sequence[int], rows: Sequence[JsonRow | DataError]
) -> Iterator[tuple[int, int, JsonRow | DataError]]:
    for row in rows:
        number = (row.row or 0) if isinstance(row, DataError) else row.number
        if [place, number] > list(after[:2]):
            yield place, number, row


def _rows_in(table: RawTable) -> int:
    """About how many rows a table has, for the progress bar: the lines of text files."""
    rows = 0
    for file in table.files:
        if table.format == "Parquet":
            rows += count_rows(file)
        else:
            with open_binary(file) as stream:
                rows += sum(1 for _ in stream)
    return rows
