"""The verb profile: what is stored about a user, in words."""

import json
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Annotated, Any

import typer

from persona_rm.cli.app import app, console, told
from persona_rm.errors import DataError, RecipeError


@app.command()
def profile(
    store: Annotated[
        str,
        typer.Argument(
            help="The profile store (arrow:FILE, sqlite:FILE or redis://HOST:PORT/DB), or the folder of a bundle."
        ),
    ],
    user: Annotated[str, typer.Argument(help="The id of the user.")],
    bundle: Annotated[
        Path | None,
        typer.Option(help="A bundle folder: its inferrer gives probabilities, its users file the texts of items."),
    ] = None,
    model: Annotated[
        Path | None,
        typer.Option(help="The folder of the fitted inferrer. By default it is looked for beside the store."),
    ] = None,
    users: Annotated[
        Path | None, typer.Option(help="A users file (JSON lines) with the texts of the items behind a direction.")
    ] = None,
    space: Annotated[
        str, typer.Option(help="The preference space, if neither a bundle nor a fitted inferrer names it.")
    ] = "alignx90",
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON: everything that is stored, and the same in words.")
    ] = False,
    export: Annotated[Path | None, typer.Option(help="Write that JSON to this file.")] = None,
    erase: Annotated[
        bool, typer.Option("--erase", help="Remove the user's state. A tombstone refuses later imports of the user.")
    ] = False,
) -> None:
    """Show what a profile store or a bundle knows about a user, in words; export it or erase it.

    Each preference direction is printed with its dimension, its pole, its probability and the items behind it. Stores
    keep no texts: an item has an id, and what it says is shown if --users or --bundle has it.

    Example: `persona-rm profile arrow:runs/inference/infer/profiles.arrow u17 --users users.jsonl`
    """
    with told():
        if Path(store, "bundle.yaml").is_file():
            _of_bundle(Path(store), user, as_json, export, erase)
        else:
            _of_store(store, user, (bundle, model, users, space), as_json, export, erase)


def _of_store(store: str, user: str, beside: tuple[Any, ...], as_json: bool, export: Path | None, erase: bool) -> None:
    """Print, export or erase what a store holds. `beside`: bundle, fitted inferrer, users file and space."""
    from persona_rm.profiles import open_store

    with open_store(store) as held:
        if as_json or export or not erase:
            stored = held.export(user)
            words = _words(held.get([user])[user], held.where, *beside)
            _show(stored, words, as_json, export, f"Everything that is stored about user {user!r}")
        if erase:
            there = held.erase([user])
            console.print(
                f"The state of user {user!r} was erased."
                if there
                else f"There was no state of user {user!r}. A tombstone refuses later imports of the user."
            )


def _of_bundle(folder: Path, user: str, as_json: bool, export: Path | None, erase: bool) -> None:
    """Print or export what a bundle knows. Raises `RecipeError` for an erasure, which needs the store."""
    from persona_rm.bundle import load_bundle
    from persona_rm.report.user_words import user_of_bundle

    with closing(load_bundle(folder)) as bundle:
        if erase:
            named = bundle.file.profiles
            do = (
                f"erase the user in its store {named}" if named else f"remove the user's rows from {bundle.file.users}"
            )
            raise RecipeError(f"a bundle is not changed: {do}")
        words = user_of_bundle(bundle, user)
    _show({"user_id": user}, words, as_json, export, f"What the bundle knows about user {user!r}")


def _show(row: dict[str, Any], words: Any, as_json: bool, export: Path | None, what: str) -> None:
    """Write the row with the words to `export`, or print it as JSON, or print the words alone."""
    from persona_rm.report.user_words import lines_of

    text = json.dumps({**row, "in_words": words.as_json()}, ensure_ascii=False, indent=1)
    if export:
        export.write_text(text + "\n", encoding="utf-8")
        console.print(f"{what} was written to {export}")
    elif as_json:
        typer.echo(text)
    else:
        for line in lines_of(words):
            console.print(line, highlight=False)


def _words(state: Any, where: str, bundle: Path | None, model: Path | None, users: Path | None, space: str) -> Any:
    """The state in words, with as much as the bundle, the fitted inferrer and the users file add."""
    from persona_rm.report.user_words import user_in_words
    from persona_rm.space import load_space
    from persona_rm.users.users_file import read_users

    user, inferrer, persona = state.user_id, None, None
    with ExitStack() as opened:
        if bundle:
            from persona_rm.bundle.load import load_bundle

            loaded = opened.enter_context(closing(load_bundle(bundle)))
            inferrer, of_space = loaded.inferrer, loaded.space
            persona = loaded.users[user].persona if user in loaded.users else None
        elif folder := model or _model_beside(where):
            inferrer, of_space = _fitted(folder)
        else:
            of_space = load_space(space)
        if users:
            persona = next(
                (one.persona for one in read_users(users, of_space) if one.persona.user_id == user), persona
            )
        return user_in_words(state, of_space, inferrer, persona)


def _model_beside(where: str) -> Path | None:
    """The fitted inferrer of the run that a store file lies in, None if there is none."""
    folder = Path(where).parent
    beside = (folder / "model", folder / "infer" / "model", folder / "inferrer")
    return next((path for path in beside if (path / "config.json").is_file()), None)


def _fitted(folder: Path) -> tuple[Any, Any]:
    """A saved inferrer and its space. Raises `DataError` if the folder holds none."""
    from persona_rm.inferrers import INFERRERS
    from persona_rm.space import load_space

    path = folder / "config.json"
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        name, space = str(about["inferrer"]), load_space(str(about["space"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        problem = "no saved inferrer is here; name the folder infer/model of a run, or a bundle with --bundle"
        raise DataError(problem, file=path) from error
    return INFERRERS.load(name).load(folder, space), space
