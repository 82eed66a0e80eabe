"""The verb users: whom a users file or a bundle knows, and how much is known about each."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from persona_rm.cli.app import app, console, told
from persona_rm.cli.users_input import ColumnMap
from persona_rm.io.text import shorten

WIDEST = 80
"""Characters of an id in the table; --json has the whole of it."""


@app.command(name="users")
def list_users(
    source: Annotated[Path, typer.Argument(help="A users file, or the folder of a bundle.")],
    columns: ColumnMap = None,
    group: Annotated[str, typer.Option(help="Show only the users of this group.")] = "",
    limit: Annotated[int, typer.Option(min=1, help="The largest number of users to show.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object for each user, all of them.")] = False,
) -> None:
    """List the users of a users file or a bundle: comparisons, texts, dates, group and known directions.

    `persona-rm profile BUNDLE USER` says what is known about one of them, and from which items.

    Example: `persona-rm users users.jsonl`
    """
    with told():
        from persona_rm.bundle.user_overview import overviews, totals
        from persona_rm.users.columns import parse_map

        named = parse_map(columns or ())
        rows = [row for row in overviews(source, named) if not group or row.group == group]
        if as_json:
            for row in rows:
                typer.echo(json.dumps(row.as_json(), ensure_ascii=False))
            return
        console.print(_table(rows[:limit]))
        if len(rows) > limit:
            console.print(f"{len(rows) - limit:,} more users are not shown: --limit {len(rows)}", style="dim")
        console.print(totals(rows), highlight=False)


def _table(rows: Iterable[Any]) -> Table:
    heads = ("user", "group", "comparisons", "ties", "texts", "from", "to", "directions")
    table = Table(*heads, box=None, pad_edge=False)
    for row in rows:
        directions = "not inferred" if row.directions is None else str(row.directions)
        user, counts = shorten(row.user_id, WIDEST, keep_end=False), (str(row.pairs), str(row.ties), str(row.texts))
        table.add_row(user, row.group, *counts, row.first or "-", row.last or "-", directions)
    return table
