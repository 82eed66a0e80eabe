"""Verbs about users: infer and ask."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.panel import Panel

from persona_rm.cli.app import Overrides, RecipePath, app, console, recipe_of, told
from persona_rm.errors import RecipeError
from persona_rm.io.terminal import print_head

KEYS = {"1": 2, "2": 1, "3": 0, "4": -1, "5": -2}
"""From what is typed to the grade of the answer."""
CHOICES = "1 first, clearly  2 first  3 the same  4 second  5 second, clearly  w REASON  s skip  q end"


@app.command()
def infer(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Infer users' preference directions from their evidence, with probabilities and the items behind each.

    The inferrer (`infer.inferrer`, by default posterior) first learns from the users of the training side how often
    evidence errs. `infer.users=FILE` names the users to infer (JSON lines as in a bundle's users.jsonl), and
    `infer.store=sqlite:FILE` or `redis://HOST` the store of their states. The folder infer/ of the run gets
    directions.jsonl, model/ and profiles.arrow.

    Example: `persona-rm infer inference infer.users=users.jsonl out=runs/mine`
    """
    with told():
        from persona_rm.pipeline.job import run_recipe

        run_recipe(_with_infer(recipe, overrides), console, only=("build", "infer"))


@app.command()
def ask(
    recipe: RecipePath,
    overrides: Overrides = None,
    user: Annotated[str, typer.Option(help="The id of the user. A known user goes on where they stopped.")] = "me",
    questions: Annotated[int, typer.Option(min=1, help="The largest number of questions to ask.")] = 10,
    store: Annotated[str, typer.Option(help="The store of user states. The default is users.sqlite in the run.")] = "",
    readmit: Annotated[
        bool, typer.Option("--readmit", help="Ask a user who was erased, and store them again.")
    ] = False,
) -> None:
    """Learn a user's preferences by asking: each question is the pair of texts whose comparison would tell most.

    Answer 1 (the first, clearly) to 5 (the second, clearly). `w` with a reason says more ("too long"), `s` skips the
    question and `q` ends. What was learned is stored after every answer.

    Example: `persona-rm ask inference --user ann --questions 5`
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
        _summary(desk)


def _with_infer(recipe: Path, overrides: list[str] | None) -> Any:
    from persona_rm.recipe import InferConfig

    plan = recipe_of(recipe, overrides)
    return plan if plan.infer else plan.model_copy(update={"infer": InferConfig()})


def _question(desk: Any, number: int, of: int) -> bool:
    """Ask one question until it is answered or skipped. False if the user wants to end."""
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


def _summary(desk: Any) -> None:
    """Print what is known about the user now, in words."""
    posterior = desk.interview.posterior
    space = desk.interview.inferrer.space
    if posterior.cold:
        raise RecipeError(f"no question was answered, so nothing is known about user {desk.user!r}")
    words = space.describe(posterior.directions) or "nothing is certain yet"
    console.print(f"After {posterior.n_items} answers and items: {words}")
    console.print(f"stored in {desk.store}, version {desk.version}", style="dim")
