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
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="Your prompts, with the user of each row: JSON lines, CSV, Parquet or a `datasets` folder. Without "
            "it the prompts are those of the users' own items."
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="The trainer.", autocompletion=complete_host)] = "openrlhf",
    reward: Annotated[str, typer.Option(help="The method of the reward, see `persona-rm zoo method`.")] = "contrast",
    name: Annotated[str, typer.Option(help="The name of the recipe and of its run.")] = "mine",
    out: Annotated[Path | None, typer.Option(help="The file to write. The default is NAME.yaml.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a recipe for your users, and print the two lines for a job of the host.

    What is not given as an option is asked for at a terminal; elsewhere it is an error that names the option.

    A prompts file is read as a run reads it, and at least one of the users that it names must be in the users file.

    Example: `persona-rm init --model simulator_lm --gpus 0 --users users.jsonl --prompts prompts.jsonl`
    """
    with told():
        from persona_rm.hosts import load_host
        from persona_rm.hosts.base import PromptData
        from persona_rm.pipeline.recipe_draft import RecipeDraft, check_prompts, write_draft
        from persona_rm.users.read_file import read_users_data

        given = {"--model": model, "--gpus": gpus, "--users": users}
        answers = _answers(given)
        people = Path(str(answers["--users"]))
        if not people.exists():
            raise RecipeError(f"--users {people}: there is no such file")
        data = None
        if prompts is not None:
            if not prompts.exists():
                raise RecipeError(f"--prompts {prompts}: there is no such file")
            file, said = check_prompts(prompts, read_users_data(people).users)
            console.print(said, highlight=False, markup=False)
            data = PromptData(prompts, file.prompt_column, file.user_column or "user")
        draft = RecipeDraft(
            name, str(answers["--model"]), int(str(answers["--gpus"])), str(people), host, reward,
            str(prompts) if prompts else None,
        )  # fmt: skip
        path = out or Path(f"{name}.yaml")
        write_draft(draft, path, replace=force)
        start, job = load_host(host).lines(draft.bundle, data)
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
