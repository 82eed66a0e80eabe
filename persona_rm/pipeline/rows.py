"""Rows for the host's DPO trainer: the prompt as a method writes it for this person, and the two responses.

ICA rows show 0 to `max_items` UGC and PAIR items each (paper, C.2), drawn anew for every row. PBA rows name what the
drawn
items say about the person, never against the pair: so, as for a real person, most of what the two responses differ
in is not named, and most of what is named does not show in them.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

from persona_rm.backends.base import Backends
from persona_rm.errors import DataError
from persona_rm.methods.base import Method
from persona_rm.pipeline.members import method_of
from persona_rm.recipe import DpoConfig, Recipe
from persona_rm.types import Directions, Example, Persona

KEYS = ("prompt", "chosen", "rejected")
HOLD_OUT = 20
"""On real data one post in so many is kept from training, to be evaluated on."""


def held_out(example: Example) -> bool:
    """Is this example's post on the evaluation side? A function of the post alone, so no post is on both sides."""
    return Random(f"held-out/{example.group or example.id}").randrange(HOLD_OUT) == 0


def dpo_rows(recipe: Recipe, config: DpoConfig, examples: Sequence[Example]) -> Iterator[dict[str, str]]:
    """`config.rows` rows, going through the examples in a seeded order as often as needed. Raises `DataError` if
    none."""
    if not examples:
        raise DataError("there is no example to train on: see the reasons in the build's data card")
    method = method_of(recipe, config.method, Backends())
    for number in range(config.rows):
        turn, place = divmod(number, len(examples))
        if place == 0:
            order = Random(f"{recipe.seed}/rows/{turn}").sample(range(len(examples)), len(examples))
        example = examples[order[place]]
        rng = Random(f"{recipe.seed}/row/{example.id}/{turn}")
        prompt = _prompt(method, example, config.max_items, rng)
        yield dict(zip(KEYS, (prompt, example.chosen, example.rejected), strict=True))


def _prompt(method: Method, example: Example, max_items: int, rng: Random) -> str:
    persona = draw_items(example.persona, max_items, rng)
    directions = profile(example.directions, [item.directions for item in persona.items])
    state = method.adapt(replace(persona, directions=directions))
    return str(method.render(state, example.prompt))  # type: ignore[attr-defined]


def draw_items(persona: Persona, most: int, rng: Random) -> Persona:
    """0 to `most` items of each kind, at least one in all where there is any (paper, C.2)."""
    n_ugc, n_pairs = rng.randint(0, most), rng.randint(0, most)
    if not n_ugc and not n_pairs:
        n_ugc = n_pairs = most
    ugc = rng.sample(persona.ugc, min(n_ugc, len(persona.ugc)))
    pairs = rng.sample(persona.pairs, min(n_pairs, len(persona.pairs)))
    return replace(persona, ugc=tuple(ugc), pairs=tuple(pairs))


def profile(pair: Directions, items: Sequence[Directions | None]) -> Directions:
    """The person behind a pair: the sign of the items' votes, where the pair does not say the opposite.

    Where the votes support nothing that the pair shows, the pair's first direction speaks for it: a row must be about
    something.
    """
    votes = [sum(column) for column in zip(*(item for item in items if item), strict=True)] or [0] * len(pair)
    signs = [(vote > 0) - (vote < 0) for vote in votes]
    kept = [sign if sign * d >= 0 else 0 for sign, d in zip(signs, pair, strict=True)]
    if not any(sign * d for sign, d in zip(kept, pair, strict=True)):
        first = next((i for i, d in enumerate(pair) if d), None)
        if first is not None:
            kept[first] = pair[first]
    return tuple(kept)


def write_rows(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    """JSON lines; returns how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            count += 1
    return count
