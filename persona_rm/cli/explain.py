"""The verb explain: why a user got a reward."""

import json
from pathlib import Path
from typing import Annotated

import typer

from persona_rm.cli.app import app, told
from persona_rm.cli.complete import complete_bundle
from persona_rm.errors import RecipeError


@app.command()
def explain(
    bundle: Annotated[
        Path | None,
        typer.Argument(
            help="The bundle folder, as `persona-rm run` writes it: RUN/ppo/SECTION/bundle.",
            autocompletion=complete_bundle,
        ),
    ] = None,
    user: Annotated[
        str | None, typer.Option(help="The id of the user. Without it the population prior is explained.")
    ] = None,
    prompt: Annotated[str | None, typer.Option(help="The bare prompt.")] = None,
    response: Annotated[str | None, typer.Option(help="The response to reward.")] = None,
    request: Annotated[
        str | None, typer.Option(help="The id of a logged request, in place of a prompt and a response.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="The run folder whose reward logs have that request.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the trace as JSON.")] = False,
) -> None:
    """Explain a reward: its parts by dimension, the items behind them, and each step of post-processing.

    A reward is computed for a user, a prompt and a response, or found in the reward log of a run by its request id.
    The bundle of a logged reward is the one beside the log, unless it is named.

    Example: `persona-rm explain runs/quickstart/ppo/matched/bundle --user u17 --prompt "Hello?" --response "Yes."`
    """
    with told():
        from persona_rm.serving.explanation import explain_logged, explain_request, lines_of
        from persona_rm.types import RewardRequest

        if request is not None and run is not None and (prompt, response, user) == (None, None, None):
            found = explain_logged(run, request, bundle)
        elif request is None and run is None and bundle is not None and prompt is not None and response is not None:
            found = explain_request(bundle, RewardRequest(user, prompt, response))
        else:
            usage = "a bundle with --prompt and --response (and --user), or --request ID with --run RUN"
            live = {"--user": user, "--prompt": prompt, "--response": response}
            raise RecipeError(f"say what to explain: {usage}; {_mistake(bundle, live, request, run)}")
        if as_json:
            typer.echo(json.dumps(found.to_row(), ensure_ascii=False, indent=1))
        else:
            typer.echo("\n".join(lines_of(found)))


def _mistake(bundle: Path | None, live: dict[str, str | None], request: str | None, run: Path | None) -> str:
    """What is missing, or which options exclude each other. `live`: the options that describe a reward to compute."""
    given = [name for name, value in live.items() if value is not None]
    logged = {"--request": request, "--run": run}
    of_log = [name for name, value in logged.items() if value is not None]
    if given and of_log:
        return f"both were given: {', '.join(given)} and {', '.join(of_log)}"
    needed = (
        logged if of_log else {"the bundle": bundle, "--prompt": live["--prompt"], "--response": live["--response"]}
    )
    missing = [name for name, value in needed.items() if value is None]
    return f"missing: {', '.join(missing)}"
