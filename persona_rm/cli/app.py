"""What every verb shares: the app, the console, how recipes are found and how errors are printed."""

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.text import Text
from typer.core import TyperGroup

from persona_rm import __version__
from persona_rm.cli.complete import complete_recipe
from persona_rm.cli.packaged import recipe_files
from persona_rm.errors import DataError, MissingExtra, PersonaRMError
from persona_rm.io.terminal import make_console

EXTRA_NAME = re.compile(r"[\w.-]+")
EXTRA_MARKER = re.compile(r"extra == ['\"]([\w-]+)['\"]")
"""How the metadata of a package writes a requirement of an extra: `pyarrow>=17; extra == 'data'`."""
COLLECTIONS = ("gpu", "dev")
"""Extras that hold other extras: they are named only for a package that no smaller extra has."""
UsageError: type[Exception] = typer.BadParameter.__bases__[0]
"""What a wrong command line raises: the class of the click package that typer uses, its own or the installed one."""


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
    "Start with `persona-rm run quickstart`: it runs the whole product on simulated users. `persona-rm recipes` lists "
    "the other recipes, `persona-rm doctor` examines this machine, and `persona-rm VERB --help` explains a verb with "
    "an example. `persona-rm --install-completion` teaches your shell the verbs, recipes and bundles.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
console = make_console()
# Models load in a second; their bars would hide those of the stages.
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
RecipePath = Annotated[
    Path,
    typer.Argument(
        help="The recipe: a YAML file, or a name that `persona-rm recipes` lists.", autocompletion=complete_recipe
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(
        help="Settings that replace those of the recipe: `seed=1 source.path=FILE dpo.pba.args.adam.lr=1e-4`."
    ),
]
Only = Annotated[
    list[str] | None,
    typer.Option(help="Run only this stage: pretrain, build, infer, dpo, eval, ppo or report. Repeatable."),
]


def _print_version(asked: bool) -> None:
    if asked:
        sys.stdout.write(f"{__version__}\n")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_print_version),
    ] = False,
) -> None:
    """Options that stand before the verb."""


@contextmanager
def told() -> Iterator[None]:
    """Print an error of this library as one red message and exit with code 1.

    A missing package of an extra is such an error too, and a file that the system refuses. Any other exception is a
    bug and keeps its traceback.
    """
    try:
        yield
    except PersonaRMError as error:
        _fail(error)
    except OSError as error:
        # The operating system's own reasons, such as a full disk or a folder without the right to write.
        if error.filename is None:
            raise
        named = error.filename2 or error.filename
        _fail(DataError(f"{error.strerror}; choose another path, or correct its rights", file=named))
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if not (extras := extras_with(module)):
            raise
        commands = " or ".join(f"pip install persona_rm[{extra}]" for extra in extras)
        _fail(MissingExtra(f"this needs the package {module!r}, which is not installed: {commands}"))


def _fail(error: PersonaRMError) -> NoReturn:
    make_console(stderr=True).print(Text.assemble((type(error).__name__, "bold red"), f": {error}"))
    raise typer.Exit(1) from error


def extras_with(module: str) -> list[str]:
    """The extras of this package that install a module, as its metadata lists them; none for a module of no extra."""
    try:
        requirements = requires("persona_rm") or []
    except PackageNotFoundError:
        return []
    extras = []
    for requirement in requirements:
        package, extra = EXTRA_NAME.match(requirement), EXTRA_MARKER.search(requirement)
        if package and extra and package[0].replace("-", "_").lower() == module:
            extras.append(extra[1])
    small = [extra for extra in dict.fromkeys(extras) if extra not in COLLECTIONS]
    return small or [extra for extra in dict.fromkeys(extras) if extra != "dev"]


def recipe_of(path: Path, overrides: list[str] | None):  # type: ignore[no-untyped-def]
    from persona_rm.recipe import load_recipe

    return load_recipe(find_recipe(path), overrides or ())


def find_recipe(path: Path) -> Path:
    """The recipe as given if the file exists, else the packaged one of that name."""
    if path.exists():
        return path
    named = {p.stem: p for p in recipe_files()}
    return named.get(path.stem, path)
