"""The verb init: a recipe to begin with, and the lines for the host."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from persona_rm.cli.app import app, console, told
from persona_rm.cli.complete import complete_host
from persona_rm.errors import RecipeError

QUESTIONS = {
    "--model": "Model to train (a folder in Hugging Face format, or simulator_lm)",
    "--gpus": "Number of GPUs (0 for a rehearsal on the CPU)",
    "--users": "Users file",
}


@app.command()
def init(
    model: Annotated[
        str | None, typer.Option(help="The model to train: a folder in Hugging Face format, or `simulator_lm`.")
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="The number of GPUs; 0 for a rehearsal on the CPU.")] = None,
    users: Annotated[Path | None, typer.Option(help="The file with your users and what is known about them.")] = None,
    host: Annotated[str, typer.Option(help="The trainer.", autocompletion=complete_host)] = "openrlhf",
    reward: Annotated[str, typer.Option(help="The method of the reward, see `persona-rm zoo method`.")] = "contrast",
    name: Annotated[str, typer.Option(help="The name of the recipe and of its run.")] = "mine",
    out: Annotated[Path | None, typer.Option(help="The file to write. The default is NAME.yaml.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a recipe for your users, and print the two lines for a job of the host.

    What is not given as an option is asked for at a terminal; elsewhere it is an error that names the option.

    Example: `persona-rm init --model simulator_lm --gpus 0 --users users.jsonl --out mine.yaml`
    """
    with told():
        from persona_rm.hosts import load_host
        from persona_rm.pipeline.recipe_draft import RecipeDraft, write_draft

        given = {"--model": model, "--gpus": gpus, "--users": users}
        answers = _answers(given)
        people = Path(str(answers["--users"]))
        if not people.exists():
            raise RecipeError(f"--users {people}: there is no such file")
        draft = RecipeDraft(name, str(answers["--model"]), int(str(answers["--gpus"])), str(people), host, reward)
        path = out or Path(f"{name}.yaml")
        write_draft(draft, path, replace=force)
        start, job = load_host(host).lines(draft.bundle)
        console.print(f"Wrote {path}. Next: persona-rm doctor {path}, then persona-rm run {path}", soft_wrap=True)
        console.print("For a job of your own, with the bundle of that run:", style="dim")
        for line in (start, job):
            console.print(line, highlight=False, soft_wrap=True)


def _answers(given: Mapping[str, object]) -> dict[str, object]:
    """The options, with answers for those that are missing. Raises `RecipeError` if there is no terminal to ask at."""
    missing = [option for option, value in given.items() if value is None]
    if missing and not sys.stdin.isatty():
        raise RecipeError(f"missing: {', '.join(missing)} (this is no terminal, so nothing can be asked)")
    kinds = {"--gpus": int}
    answers = {}
    for option, value in given.items():
        answers[option] = typer.prompt(QUESTIONS[option], type=kinds.get(option, str)) if value is None else value
    return answers
