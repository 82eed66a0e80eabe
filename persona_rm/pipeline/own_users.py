"""Users and prompts that a recipe names by file: nothing is simulated for them, and no threads are built.

A users file without a `source` in the recipe is all the data that there is: the encoder reads its texts unless the
recipe names another annotator, the inferrer learns from these users, methods are fitted on their comparisons, and
prompts come from their own items unless a prompts file is named.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.console import Console

from persona_rm.backends.base import Backends
from persona_rm.bundle.bundle_file import YAML
from persona_rm.errors import DataError, RecipeError
from persona_rm.inferrers.item_reader import PromptAndText, texts_in
from persona_rm.pipeline.members import space_of, text_annotator_of
from persona_rm.pipeline.own_files import own_prompts, own_users
from persona_rm.recipe import Recipe
from persona_rm.space import PreferenceSpace
from persona_rm.types import MIDDLE, Comparison, Example, Persona, Prompt
from persona_rm.users.annotated_users import annotated
from persona_rm.users.own_prompts import read_own_prompts
from persona_rm.users.read_file import read_users_data
from persona_rm.users.users_file import User

TIE = 0
"""The strength of a comparison in which the user preferred neither response."""
TRIED = 64
"""Number of texts that are read before anything else runs, to see whether the annotator understands them."""


def read_own_users(path: str | Path, space: PreferenceSpace) -> list[User]:
    """The users of a users file in any form. Raises `DataError` naming file, row and key."""
    return read_users_data(path, space=space).users


def is_bundle(path: str) -> bool:
    """Whether a path is the folder of a bundle."""
    return (Path(path) / YAML).is_file()


def check_own_data(recipe: Recipe, backends: Backends, console: Console) -> None:
    """Read every users file and prompts file of the recipe, before a stage runs, and print what is in them.

    Raises `RecipeError` for a file that is missing, and if the annotator reads nothing in the texts of the users;
    `DataError` for a row that cannot be read.
    """
    for key, path in {**own_users(recipe), **own_prompts(recipe)}.items():
        if not Path(path).exists():
            raise RecipeError(f"{key}: there is no file {path}")
    for path in sorted(set(own_prompts(recipe).values())):
        read_own_prompts(Path(path))
    named = {path: key for key, path in own_users(recipe).items() if not is_bundle(path)}
    for path, key in named.items():
        data = read_users_data(path, space=space_of(recipe))
        console.print(data.describe(), highlight=False, markup=False)
        check_readable(data.users, recipe, backends, f"{key}={path}")


def check_readable(users: Sequence[User], recipe: Recipe, backends: Backends, where: str) -> None:
    """Raises `RecipeError` if the annotator reads no preference in any of the first texts of these users.

    An annotator of another language or kind of text reads every text as neutral. Nothing would be inferred then, and
    every reward would be that of an unknown user.
    """
    texts: list[PromptAndText] = []
    for user in users:
        for item in user.persona.items:
            if item.directions is None:
                texts += [text for text in texts_in(item) if text[1].strip()]
        if len(texts) >= TRIED:
            break
    if not texts:
        return
    tried = texts[:TRIED]
    levels = backends.need_reader(where).levels([prompt for prompt, _ in tried], [text for _, text in tried])
    if any(level != MIDDLE for row in levels for level in row):
        return
    name = (text_annotator_of(recipe) or {"name": "none"})["name"]
    problem = f"{where}: the annotator {name!r} reads no preference in any of {len(tried)} texts of these users"
    raise RecipeError(f"{problem}: it does not read this kind of text. Set annotator=encoder, or llm or http")


def with_directions(users: Sequence[User], backends: Backends) -> list[User]:
    """The users with directions on every item, as the annotator reads them; given ones stay."""
    read = annotated([user.persona for user in users], backends)
    return [User(persona, user.group) for persona, user in zip(read, users, strict=True)]


def comparisons_of(users: Sequence[User]) -> list[Comparison]:
    """Every comparison of these users that is no tie."""
    return [
        Comparison(user.persona.user_id, pair.prompt, pair.chosen, pair.rejected, pair.prompt)
        for user in users
        for pair in user.persona.pairs
        if pair.strength != TIE
    ]


def examples_of_users(users: Sequence[User]) -> list[Example]:
    """One example for each comparison, with the user's other items as the persona. Items must have directions.

    Raises `DataError` if no user has a comparison.
    """
    examples = list(_examples(users))
    if not examples:
        raise DataError("no user of the users file has a comparison (`pairs`), so there is nothing to train on")
    return examples


def _examples(users: Sequence[User]) -> Iterator[Example]:
    for user in users:
        persona = user.persona
        for place, pair in enumerate(persona.pairs):
            if pair.strength == TIE:
                continue
            # The pair itself must not be in the prompt that asks which response the user chose.
            rest = Persona(
                persona.user_id, persona.ugc, persona.pairs[:place] + persona.pairs[place + 1 :], persona.demo,
                persona.directions,
            )  # fmt: skip
            yield Example(
                f"{persona.user_id}/{place}", pair.prompt, pair.chosen, pair.rejected, pair.directions or (), rest,
                user.group, pair.prompt,
            )  # fmt: skip


def asked_in(path: str, users: Sequence[User]) -> list[tuple[str, Prompt]]:
    """(user, prompt) of each row of a prompts file. A row without a user gets the next of `users` in turn."""
    ids = [user.persona.user_id for user in users]
    rows = read_own_prompts(Path(path))
    return [(row.user or ids[place % len(ids)], row.prompt) for place, row in enumerate(rows)]


def asked_in_items(users: Sequence[User], count: int) -> list[tuple[str, Prompt]]:
    """`count` times a user and the prompt of one of their items. Raises `RecipeError` if no item has a prompt."""
    own: list[tuple[str, Prompt]] = [
        (user.persona.user_id, item.prompt) for user in users for item in user.persona.items if item.prompt
    ]
    if not own:
        raise RecipeError("the items of these users have no prompts; name a prompts file under ppo.SECTION.prompts")
    return [own[place % len(own)] for place in range(count)]
