"""How verbs read a team's users file: with a progress bar, and with what is in it said aloud."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from persona_rm.cli.app import console

if TYPE_CHECKING:
    from persona_rm.users.read_file import UsersData

UsersFile = Annotated[Path, typer.Argument(help="Your users: JSON lines, CSV, Parquet or a folder of `datasets`.")]
ColumnMap = Annotated[
    list[str] | None, typer.Option("--map", help="A column under another name: `--map user=annotator_id`. Repeatable.")
]


def read_input(path: Path, columns: list[str] | None, *, quiet: bool = False) -> "UsersData":
    """The users of the file. What was read, and what is wrong with it, is printed unless `quiet`."""
    from persona_rm.users.columns import parse_map
    from persona_rm.users.read_file import read_users_data

    with console.status(f"reading {path.name}") as status:
        data = read_users_data(
            path, parse_map(columns or ()), progress=lambda rows: status.update(f"reading {path.name}: {rows:,} rows")
        )
    if not quiet:
        console.print(data.describe(), highlight=False)
    return data
