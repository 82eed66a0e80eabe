"""Rows for the host's DPO trainer: the prompt as a method writes it for this person, and the two responses.

ICA rows show 0 to `max_items` UGC and PAIR items each (paper, C.2), drawn anew for every row. PBA rows name
half of what the pair shows (the paper, eq. 2, names all of it) and what the drawn items say about the rest: as for a
real person, much of what two responses differ in is not named, and must not count. With `mirror` every other row is
the one before it for somebody of the opposite views: then no wording is chosen more often than rejected, and only who
is asking tells which (the swap of SPL, arXiv 2603.12595). Where the prompt shows items and no directions, they are
items that construction found for that somebody.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count, islice
from pathlib import Path
from random import Random
from typing import Any

from persona_rm.backends.base import Backends
from persona_rm.errors import DataError, RecipeError
from persona_rm.hosts import load_host
from persona_rm.inferrers.vote import VoteConfig, VoteInferrer
from persona_rm.methods.base import Method
from persona_rm.pipeline.members import method_of, space_of
from persona_rm.recipe import DpoConfig, Recipe
from persona_rm.types import Directions, Example, Persona

KEYS = ("prompt", "chosen", "rejected")
HOLD_OUT = 20
"""On real data one post in so many is kept from training, to be evaluated on."""


def held_out(example: Example) -> bool:
    """Is this example's post on the evaluation side? A function of the post alone, so no post is on both sides."""
    return Random(f"held-out/{example.group or example.id}").randrange(HOLD_OUT) == 0


def dpo_rows(
    recipe: Recipe, config: DpoConfig, examples: Sequence[Example], mirrored: Sequence[Example] = ()
) -> Iterator[dict[str, str]]:
    """`config.rows` rows, going through the examples in a seeded order as often as needed; `mirrored` are examples of
    people of the opposite views. Raises `DataError` if there is none, `RecipeError` if none can be mirrored."""
    if not examples:
        raise DataError("there is no example to train on: see the reasons in the build's data card")
    method = method_of(recipe, config.method, Backends())
    opposites: dict[str, Example] = {}
    if config.mirror and not _shows_directions(method, examples[0]):
        found = {(other.group, other.rejected, other.chosen): other for other in mirrored}
        opposites = {e.id: found[key] for e in examples if (key := (e.group, e.chosen, e.rejected)) in found}
        examples = [example for example in examples if example.id in opposites]
        if not examples:
            raise RecipeError(
                f"mirror: the prompt of {method.name} is the same for opposite directions, and the build found nobody "
                "of the opposite views: set build.mirror, or leave mirror out of this section of dpo"
            )
    rule = VoteInferrer(VoteConfig(), space_of(recipe))
    rows = (
        row
        for turn in count()
        for example in Random(f"{recipe.seed}/rows/{turn}").sample(examples, len(examples))
        for row in _rows_of(
            example, opposites.get(example.id), method, rule, config, Random(f"{recipe.seed}/row/{example.id}/{turn}")
        )
    )
    yield from islice(rows, config.rows)


def _shows_directions(method: Method, example: Example) -> bool:
    prompts = {
        _prompt(method, example.persona, tuple(way * d for d in example.directions), example) for way in (-1, 1)
    }
    return len(prompts) > 1


def _rows_of(
    example: Example, opposite: Example | None, method: Method, rule: VoteInferrer, config: DpoConfig, rng: Random
) -> Iterator[dict[str, str]]:
    """One row; with `mirror` also that of somebody of the opposite views on what the pair shows, who chooses the other
    response: with the items of `opposite`, or the same items and opposite directions."""
    persona = draw_items(example.persona, config.max_items, rng)
    directions = profile(example.directions, [item.directions for item in persona.items], rule, rng)
    prompt = _prompt(method, persona, directions, example)
    yield dict(zip(KEYS, (prompt, example.chosen, example.rejected), strict=True))
    if not config.mirror:
        return
    if opposite:
        persona = draw_items(opposite.persona, config.max_items, rng)
    turned = tuple(-d if shown else d for d, shown in zip(directions, example.directions, strict=True))
    mirrored = _prompt(method, persona, turned, example)
    yield dict(zip(KEYS, (mirrored, example.rejected, example.chosen), strict=True))


def _prompt(method: Method, persona: Persona, directions: Directions, example: Example) -> str:
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


def profile(pair: Directions, items: Sequence[Directions | None], rule: VoteInferrer, rng: Random) -> Directions:
    """Someone who would choose so: each direction of the pair with probability 1/2 (at least one), and the items' vote
    where the pair says nothing."""
    shown = [dim for dim, sign in enumerate(pair) if sign]
    named = [dim for dim in shown if rng.random() < 0.5]
    if shown and not named:
        named = [rng.choice(shown)]
    known = [item for item in items if item]
    rest = [rule.decide(sum(votes), len(known)) for votes in zip(*known, strict=True)] or [0] * len(pair)
    return tuple(sign * (dim in named) if sign else rest[dim] for dim, sign in enumerate(pair))


def write_dpo_rows(
    recipe: Recipe,
    config: DpoConfig,
    examples: Sequence[Example],
    base: Path,
    out: Path,
    mirrored: Sequence[Example] = (),
) -> tuple[int, int]:
    """Rows into `out`, and beside it (`..._too_long`) those that the host would cut or drop without a word.

    Returns how many there are of each. Raises `DataError` where none is short enough.
    """
    rows = list(dpo_rows(recipe, config, examples, mirrored))
    fit, too_long = load_host().dpo_rows(rows, config.args, base)
    beside = out.with_name(f"{out.stem}_too_long{out.suffix}")
    beside.unlink(missing_ok=True)
    if too_long:
        write_rows(beside, iter(too_long))
    return write_rows(out, iter(fit)), len(too_long)


def write_rows(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    """JSON lines; returns how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            written += 1
    return written
