"""How verbs read a team's users file: with a progress bar, and with what is in it said aloud."""

from pathlib import Path
from typing import Annotated

import typer

from persona_rm.users.users_file import User

UsersFile = Annotated[Path, typer.Argument(help="Your users: JSON lines, CSV, Parquet or a folder of `datasets`.")]
ColumnMap = Annotated[
    list[str] | None, typer.Option("--map", help="A column under another name: `--map user=annotator_id`. Repeatable.")
]


def read_input(path: Path, columns: list[str] | None, *, quiet: bool = False) -> list[User]:
    """The users of the file."""
    from persona_rm.space import load_space
    from persona_rm.users.users_file import read_users

    return list(read_users(path, load_space()))
