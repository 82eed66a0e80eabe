"""The verb score: responses ranked by a user's reward."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.table import Column, Table

from persona_rm.cli.app import app, console, told


@app.command()
def score(
    bundle: Annotated[Path, typer.Argument(help="The bundle folder, as `persona-rm bundle` or a run writes it.")],
    prompt: Annotated[str, typer.Option(help="The bare prompt.")],
    response: Annotated[list[str], typer.Option(help="A response to reward. Repeat it to compare several.")],
    user: Annotated[str | None, typer.Option(help="The id of the user. Without it the prior rewards.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Print how each reward came about.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the trace of each reward.")] = False,
) -> None:
    """Rank responses by a user's reward, beside the reward of an unknown user.

    The rewards are those of a reward actor without earlier samples, post-processing included. A user that the bundle
    does not know gets the population prior, as in a running job, and a warning says so.

    Example: `persona-rm score my_bundle --user ann --prompt "Hello?" --response "Hi!" --response "Good day."`
    """
    with told():
        from persona_rm.io.terminal import make_console
        from persona_rm.serving.explanation import lines_of
        from persona_rm.serving.ranking import rank_responses

        ranking = rank_responses(bundle, user, prompt, response)
        if ranking.warning:
            make_console(stderr=True).print(f"Warning: {ranking.warning}", style="yellow", highlight=False)
        if ranking.cut:
            make_console(stderr=True).print(f"Note: {ranking.cut}", style="yellow", highlight=False)
        if as_json:
            typer.echo(json.dumps(ranking.to_dict(), ensure_ascii=False, indent=1))
            return
        label = "reward" if user is None or ranking.warning else f"reward of {user}"
        table = Table(
            Column("rank", justify="right"), Column(label, justify="right"),
            Column("unknown user", justify="right"), "response", box=SIMPLE,
        )  # fmt: skip
        for rank, row in enumerate(ranking.rows, start=1):
            table.add_row(str(rank), f"{row.reward:+.4f}", f"{row.prior:+.4f}", row.response)
        console.print(table)
        if ranking.remark:
            console.print(ranking.remark, highlight=False)
        if explain:
            for rank, row in enumerate(ranking.rows, start=1):
                console.print(f"\n{rank}.", style="bold", end=" ")
                console.print("\n".join(lines_of(row.explanation)), highlight=False)
