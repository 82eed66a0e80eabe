"""The verb bench: reward methods on sets of real or simulated users, under one protocol."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from persona_rm.cli.app import Overrides, RecipePath, app, console, recipe_of, told


@app.command()
def bench(
    recipe: RecipePath,
    overrides: Overrides = None,
    out: Annotated[Path | None, typer.Option(help="The folder for bench.md, bench.json and bench.svg.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of the table.")] = False,
) -> None:
    """Compare reward methods on comparisons of users: unseen texts, users seen and new, with intervals by user.

    A recipe's section `bench` names sets and methods. Whole prompts, topics or debates are held out together with
    users, who then show 0, 2, 4, 8 and 16 comparisons. The table has the largest number; bench.md has all of them and
    the control (another user's state), calibration, and the shares of users who are helped and hurt.

    Example: `persona-rm bench bench_users bench.sets.ours.path=users.jsonl --out board`
    """
    with told():
        from persona_rm.io.progress_bar import progress_bar
        from persona_rm.pipeline.leaderboard import run_bench, write_board

        read = recipe_of(recipe, overrides)
        with progress_bar(console, "bench", 100) as update:
            board = run_bench(read, lambda done, of: update(100 * done // of))
        written = write_board(board, out or read.folder / "bench")
        if as_json:
            typer.echo(json.dumps({name: [row.to_dict() for row in rows] for name, rows in board.items()}, indent=1))
            return
        for name, rows in board.items():
            table = Table("method", "accuracy", "pooled", "personal minus pooled", "helped", "hurt", title=name)
            most = max(row.k for row in rows if isinstance(row.k, int))
            for row in (row for row in rows if row.k == most):
                gain = row.figures["gain"]
                table.add_row(
                    row.method, f"{row.figures['accuracy'].value:.3f}", f"{row.figures['pooled'].value:.3f}",
                    f"{gain.value:+.3f} [{gain.low:+.3f}, {gain.high:+.3f}]", f"{row.helped:.2f}", f"{row.hurt:.2f}",
                )  # fmt: skip
            console.print(table)
        console.print(f"Written: {', '.join(str(path) for path in written)}", highlight=False, soft_wrap=True)
