"""Verbs about people: infer, ask, profile."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.panel import Panel

from persona_rm.cli.app import Overrides, RecipePath, app, console, recipe_of, told
from persona_rm.errors import RecipeError
from persona_rm.io.terminal import print_head

KEYS = {"1": 2, "2": 1, "3": 0, "4": -1, "5": -2}
"""What is typed -> the grade of the answer."""
CHOICES = "1 first, clearly  2 first  3 the same  4 second  5 second, clearly  w REASON  s skip  q end"


@app.command()
def infer(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Infer people's preference directions from their evidence: probabilities, what is said, and the items behind it.

    Learns first, from the people of the training side, how often evidence errs (`infer.inferrer`, default: posterior).
    `infer.users=FILE` names whose directions (JSON lines as in a bundle's users.jsonl); `infer.store=sqlite:FILE` or
    `redis://HOST` where their states go. In the run's folder under infer/: directions.jsonl, model/, profiles.arrow.
    """
    with told():
        from persona_rm.pipeline.job import run_recipe

        run_recipe(_with_infer(recipe, overrides), console, only=("build", "infer"))


@app.command()
def ask(
    recipe: RecipePath,
    overrides: Overrides = None,
    user: Annotated[str, typer.Option(help="Who is asked; somebody known goes on where they stopped.")] = "me",
    questions: Annotated[int, typer.Option(min=1, help="At most so many.")] = 10,
    store: Annotated[str, typer.Option(help="Where states are kept; default: users.sqlite of the run.")] = "",
    readmit: Annotated[bool, typer.Option("--readmit", help="Ask somebody who was erased, and keep them.")] = False,
) -> None:
    """Get to know somebody by asking: each question is the pair of texts whose comparison would tell most.

    Answer 1 (the first, clearly) to 5 (the second, clearly); `w` and a reason says more ("too long"); `s` skips; `q`
    ends. What was learned is kept in the store after every answer.
    """
    with told():
        from persona_rm.pipeline.job import run_recipe
        from persona_rm.pipeline.run import RunFolder
        from persona_rm.pipeline.stages.question_desk import interview_of

        plan = _with_infer(recipe, overrides)
        run_recipe(plan, console, only=("build", "infer"))
        desk = interview_of(RunFolder(plan, plan.folder, console), user, store, readmit=readmit)
        for number in range(1, questions + 1):
            if not desk.interview.open or not _question(desk, number, questions):
                break
        _known(desk)


@app.command()
def profile(
    store: Annotated[str, typer.Argument(help="arrow:FILE, sqlite:FILE or redis://HOST.")],
    user: Annotated[str, typer.Argument(help="Whose.")],
    export: Annotated[Path | None, typer.Option(help="Write all that is held about them here (JSON).")] = None,
    erase: Annotated[bool, typer.Option("--erase", help="Remove them; a tombstone keeps them out.")] = False,
) -> None:
    """Show, export or erase what a profile store holds about a person."""
    with told():
        from persona_rm.profiles import open_store

        with open_store(store) as held:
            if not erase or export:
                text = json.dumps(held.export(user), ensure_ascii=False, indent=1)
                if export:
                    export.write_text(text + "\n", encoding="utf-8")
                    console.print(f"Written: {export}")
                else:
                    console.print_json(text)
            if erase:
                found = held.erase([user])
                console.print("Erased." if found else "There was nothing; a tombstone keeps them out.")


def _with_infer(recipe: Path, overrides: list[str] | None) -> Any:
    from persona_rm.recipe import InferConfig

    plan = recipe_of(recipe, overrides)
    return plan if plan.infer else plan.model_copy(update={"infer": InferConfig()})


def _question(desk: Any, number: int, of: int) -> bool:
    """Ask one question until it is answered or skipped; False where the person wants to end."""
    question, nats = desk.interview.question()
    print_head(console, f"Question {number} of at most {of}", f" ({nats / 0.6931:.2f} bits expected)")
    console.print(question.prompt, highlight=False)
    for label, text in (("first", question.first), ("second", question.second)):
        console.print(Panel(text, title=label, title_align="left", expand=console.is_bounded))
    while True:
        typed = typer.prompt(CHOICES)
        key, _, reason = typed.strip().partition(" ")
        if key in KEYS:
            desk.interview.answer(question, KEYS[key])
            desk.save()
            return True
        if key == "s":
            desk.interview.skip(question)
            return True
        if key == "q":
            return False
        if key == "w" and reason:
            n = desk.interview.critique(reason, question.first, desk.reader)
            desk.save()
            console.print(f"understood as {n} preference{'' if n == 1 else 's'}; now which of the two?", style="dim")
        else:
            console.print("1 to 5, w and a reason, s or q", style="yellow")


def _known(desk: Any) -> None:
    """What is known now, in words."""
    posterior = desk.interview.posterior
    space = desk.interview.inferrer.space
    if posterior.cold:
        raise RecipeError(f"nothing was answered: {desk.user!r} stays unknown")
    said = space.describe(posterior.directions) or "nothing sure"
    console.print(f"After {posterior.n_items} answers and items: {said}")
    console.print(f"kept in {desk.store}, version {desk.version}", style="dim")
