"""The verb erase: a user leaves a bundle or a run."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from persona_rm.cli.app import app, console, told

if TYPE_CHECKING:
    from persona_rm.pipeline.erasure import ErasureReport


@app.command()
def erase(
    folder: Annotated[Path, typer.Argument(help="The folder of a bundle or of a run; everything below it counts.")],
    user: Annotated[str, typer.Argument(help="The id of the user.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say where the user is.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Erase a user: profile stores, users files, fitted states, reward and failure logs, statistics, copies of data.

    The report says per place what was removed, which files still name or quote the user, and what is out of reach.
    A tombstone (a hash and a date) keeps the user unknown from now on, also to servers that run. To readmit the user,
    remove that line from erased.jsonl in the bundle.

    The exit code is 1 if the user is nowhere in the folder, or if something could not be erased; then run it again.

    Example: `persona-rm erase runs/quickstart u17 --dry-run`
    """
    with told():
        from persona_rm.pipeline.erasure import erase_user

        report = erase_user(folder, user, dry_run=dry_run)
    if as_json:
        typer.echo(json.dumps(report.as_json(), ensure_ascii=False, indent=1))
    else:
        _print(report, dry_run=dry_run)
    if report.problems:
        raise typer.Exit(1)


def _print(report: "ErasureReport", *, dry_run: bool) -> None:
    from persona_rm.pipeline.erasure.erase_user import OUTSIDE

    if report.erased_before:
        console.print(f"User {report.user!r} was erased on {report.erased_before} before.", highlight=False)
    for name in report.logged_as:
        console.print(f"Logs write {name} for this user.", highlight=False)
    parts = {
        "Removed": report.removed,
        "The user is in" if dry_run else "Left, to be changed or made again by you": report.left,
        "Weights that may have been fitted with this user": dict.fromkeys(report.weights, ""),
        "NOT erased; run the command again": dict.fromkeys(report.problems, ""),
        "Out of reach": {} if dry_run else dict.fromkeys(OUTSIDE, ""),
    }
    for title, places in parts.items():
        if places:
            console.print(f"{title}:", style="bold")
            for place, what in places.items():
                console.print(f"  {place}{': ' if what else ''}{what}", highlight=False, markup=False, soft_wrap=True)
    if not report.removed and not dry_run:
        console.print("Nothing had to be removed.")
