"""What every verb shares: the app, the console, how recipes are found and errors told."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from persona_rm.errors import PersonaRMError
from persona_rm.io.terminal import make_console

UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""What a wrong command line raises: the class of whichever click typer uses."""


class Verbs(TyperGroup):
    """The verbs. Errors of usage get typer's panel on a terminal, and one unbroken line everywhere else."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with _plain_usage():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        with _plain_usage():
            return super().invoke(ctx)


@contextmanager
def _plain_usage() -> Iterator[None]:
    try:
        yield
    except UsageError as error:
        if sys.stderr.isatty():
            raise
        error.show()  # type: ignore[attr-defined]
        raise typer.Exit(error.exit_code) from error  # type: ignore[attr-defined]


app = typer.Typer(
    name="persona-rm",
    cls=Verbs,
    help="User-level rewards for OpenRLHF: each user gets their own reward, in the RLHF stack you already run.\n\n"
    "Start with `persona-rm run recipes/quickstart.yaml`: it shows the whole product on an embedded world.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
console = make_console()
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # models load in a second, amid bars that mean something
RecipePath = Annotated[Path, typer.Argument(help="A recipe (YAML). Packaged ones: `persona-rm recipes`.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Overrides: `seed=1 source=reddit source.path=FILE dpo.pba.args.adam.lr=1e-4`."),
]
Only = Annotated[
    list[str] | None, typer.Option(help="Run only this stage: pretrain, build, dpo, eval, ppo or report. Repeatable.")
]


@contextmanager
def told() -> Iterator[None]:
    """Our own errors are one red message and exit code 1; anything else is a bug and keeps its traceback."""
    try:
        yield
    except PersonaRMError as error:
        make_console(stderr=True).print(Text.assemble((type(error).__name__, "bold red"), f": {error}"))
        raise typer.Exit(1) from error


def recipe_of(path: Path, overrides: list[str] | None):  # type: ignore[no-untyped-def]
    from persona_rm.recipe import load_recipe

    return load_recipe(find_recipe(path), overrides or ())


def find_recipe(path: Path) -> Path:
    """The recipe as given, or the packaged one of that name."""
    if path.exists():
        return path
    named = {p.stem: p for p in recipe_files()}
    return named.get(path.stem, path)


def recipe_files() -> list[Path]:
    here = Path(__file__).resolve().parents[1]
    roots = (here.parent / "recipes", here / "_recipes")
    root = next((r for r in roots if r.is_dir()), None)
    return sorted(p for p in root.rglob("*.yaml")) if root else []
