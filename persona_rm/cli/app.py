"""What every verb shares: the app, the console, how recipes are found and errors told."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from persona_rm.errors import PersonaRMError

app = typer.Typer(
    name="persona-rm",
    help="User-level rewards for OpenRLHF: each user gets their own reward, in the RLHF stack you already run.\n\n"
    "Start with `persona-rm run recipes/quickstart.yaml`: it shows the whole product on an embedded world.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
console = Console(stderr=False)
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
        Console(stderr=True).print(f"[bold red]{type(error).__name__}[/]: {error}", markup=True, highlight=False)
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
