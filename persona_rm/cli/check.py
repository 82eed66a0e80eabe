"""The verb check: what is in a users file, and whether a personal reward helps its users."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.table import Column, Table

from persona_rm.cli.app import app, console, told
from persona_rm.cli.users_input import ColumnMap, UsersFile, read_input

ABOUT = {
    "personal": "the user's own state",
    "shuffled": "the state of another user",
    "pooled": "no user, same features",
    "bradley_terry": "no user, encoder only",
    "pba_linear": "directions read by an annotator",
    "longer": "the longer response wins",
    "gain": "personal minus pooled",
    "own_minus_swapped": "personal minus another user's",
}


@app.command()
def check(
    users: UsersFile,
    columns: ColumnMap = None,
    sample: Annotated[
        int, typer.Option(min=0, help="At most so many users, drawn by their ids, are evaluated; 0 takes all.")
    ] = 1000,
    out: Annotated[Path | None, typer.Option(help="A picture of the figures: FILE.svg or FILE.png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of the table.")] = False,
) -> None:
    """Say what is in a users file, what is wrong with it, and whether a personal reward helps these users.

    Whole prompts are held out. The same users are scored under them, and new users with 2, 4 and 8 comparisons. The
    personal method is `centroid`; it is compared with the pooled reward of the same features, with the states of other
    users, and with the rule that the longer response wins. `pba_linear` has a row if its annotator reads these texts.
    The last line is the verdict: it helps if the gain over the pooled reward and over another user's state are both
    above 0, with 95 % confidence.

    Example: `persona-rm check users.jsonl --out check.svg`
    """
    with told():
        from persona_rm.io.progress_bar import progress_bar
        from persona_rm.users.candidates import check_users

        data = read_input(users, columns, quiet=as_json)
        with progress_bar(console, "check", 100) as update:
            result = check_users(data.users, sample=sample or None, progress=lambda done, of: update(100 * done // of))
        if out is not None:
            from persona_rm.report.check_picture import check_picture

            check_picture(result, out)
        if as_json:
            about = {"file": data.summary(), "findings": [asdict(finding) for finding in data.findings]}
            typer.echo(json.dumps({**about, **result.to_dict()}, ensure_ascii=False, indent=1))
            return
        print_check(result)
        if out is not None:
            console.print(f"The picture is {out}")


def print_check(result: Any) -> None:
    """The figures as a table, the users helped and hurt, and the verdict."""
    if result.figures:
        table = Table(
            "accuracy on held-out comparisons", "", Column("95 % interval", justify="right"),
            Column("n", justify="right"), Column("worst tenth", justify="right"), box=SIMPLE,
        )  # fmt: skip
        for figure in result.figures.values():
            k, _, name = figure.name.rpartition(".")
            label = f"{'new users, ' + k.removeprefix('k') + ' comparisons: ' if k else ''}{name}"
            worst = "" if k or name not in result.worst_tenth else f"{result.worst_tenth[name]:.3f}"
            signed = "+" if name in ("gain", "own_minus_swapped") else ""
            interval = f"{figure.value:{signed}.3f} [{figure.low:{signed}.3f}, {figure.high:{signed}.3f}]"
            table.add_row(label, ABOUT.get(name, ""), interval, f"{figure.n:,}", worst)
        console.print(table)
        console.print(
            f"{result.n_users:,} users with {result.n_pairs:,} held-out comparisons; intervals draw {result.drawn}. "
            f"Against the pooled reward {result.helped:.0%} of the users are helped and {result.hurt:.0%} are hurt."
        )
    if result.no_history:
        console.print(
            f"{result.no_history:,} comparisons are left out: their users have none under another prompt.",
            highlight=False,
        )
    for name, reason in result.methods_left_out.items():
        console.print(f"{name} is left out: {reason}.", highlight=False)
    for k, reason in result.left_out.items():
        console.print(f"New users with {k} comparisons are left out: {reason}.", highlight=False)
    console.print(result.verdict.sentence, style="bold", highlight=False)
