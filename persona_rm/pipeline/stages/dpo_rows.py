"""Rows for the host's DPO trainer: the prompt as a method renders it for this user, and the two responses.

ICA rows show 0 to `max_items` UGC and PAIR items each (paper, C.2), drawn anew for every row. PBA rows name half of
what the pair shows (the paper, eq. 2, names all of it), and what the drawn items say about the other dimensions: as
with real users, many differences between two responses are not named, and must not count. With `mirror`, every other
row is the one before it for a user of the opposite preferences. No wording is then chosen more often than rejected,
and only the user's part of the prompt tells which response is preferred (the swap of SPL, arXiv 2603.12595). If the
prompt shows items and no directions, construction has to find that user's items.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from random import Random
from typing import Any

from persona_rm.backends.base import Backends
from persona_rm.backends.tokens import load_tokenizer
from persona_rm.errors import DataError, RecipeError
from persona_rm.hosts import load_host
from persona_rm.inferrers.vote import VoteConfig, VoteInferrer
from persona_rm.methods.base import PromptedMethod
from persona_rm.pipeline.members import method_of, model_folder, space_of
from persona_rm.prompts import ChatTemplate
from persona_rm.recipe import DpoConfig, Recipe
from persona_rm.types import Directions, Example, Persona

KEYS = ("prompt", "chosen", "rejected")
HOLD_OUT = 20
"""On real data, one post in this many is kept from training and used for evaluation."""


def held_out(example: Example) -> bool:
    """Whether the post of this example is on the evaluation side. It depends on the post alone, so no post is on both
    sides."""
    return Random(f"held-out/{example.group or example.id}").randrange(HOLD_OUT) == 0


def dpo_rows(
    recipe: Recipe, config: DpoConfig, examples: Sequence[Example], mirrored: Sequence[Example] = ()
) -> Iterator[dict[str, str]]:
    """`config.rows` rows, going through the examples in a seeded order as often as needed.

    `mirrored` are examples of users of the opposite preferences. Raises `DataError` if there is no example, and
    `RecipeError` if no example can be mirrored.
    """
    if not examples:
        raise DataError("there is no example to train on: see the reasons in the build's data card")
    method = _prompted(recipe, config)
    opposites: dict[str, Example] = {}
    if config.mirror and not _shows_directions(method, examples[0]):
        # A mirrored example has the two responses of its original the other way round.
        by_pair = {(other.group, other.rejected, other.chosen): other for other in mirrored}
        for example in examples:
            if (key := (example.group, example.chosen, example.rejected)) in by_pair:
                opposites[example.id] = by_pair[key]
        examples = [example for example in examples if example.id in opposites]
        if not examples:
            raise RecipeError(
                f"mirror: the prompt of {method.name} is the same for opposite directions, and the build found no "
                "user of the opposite preferences: set build.mirror, or leave mirror out of this section of dpo"
            )
    rule = VoteInferrer(VoteConfig(), space_of(recipe))
    written = 0
    for turn in count():
        for example in Random(f"{recipe.seed}/rows/{turn}").sample(examples, len(examples)):
            # A stream for each example and turn, so that the draws of a row do not depend on the rows before it.
            rng = Random(f"{recipe.seed}/row/{example.id}/{turn}")
            for row in _rows_of(example, opposites.get(example.id), method, rule, config, rng):
                yield row
                written += 1
                if written == config.rows:
                    return


def _prompted(recipe: Recipe, config: DpoConfig) -> PromptedMethod:
    """The method of a section; only its renderer is used here, so it gets no model but the policy's tokenizer."""
    model = model_folder(recipe.model)
    method = method_of(recipe, config.method, Backends(chat=ChatTemplate(lambda: load_tokenizer(model))))
    if not isinstance(method, PromptedMethod):
        raise RecipeError(f"{method.name} has no `render`: its prompt does not hold the user, so DPO trains nothing")
    return method


def _shows_directions(method: PromptedMethod, example: Example) -> bool:
    """Whether opposite directions give different prompts."""
    prompts = {
        _prompt(method, example.persona, tuple(way * d for d in example.directions), example) for way in (-1, 1)
    }
    return len(prompts) > 1


def _rows_of(
    example: Example,
    opposite: Example | None,
    method: PromptedMethod,
    rule: VoteInferrer,
    config: DpoConfig,
    rng: Random,
) -> Iterator[dict[str, str]]:
    """One row; with `mirror`, also the row of a user of the opposite preferences, who chooses the other response.

    That user has the items of `opposite`, or the same items and opposite directions on what the pair shows.
    """
    persona = draw_items(example.persona, config.max_items, rng)
    directions = profile(example.directions, [item.directions for item in persona.items], rule, rng)
    prompt = _prompt(method, persona, directions, example)
    chosen, rejected = method.response(example.chosen), method.response(example.rejected)
    yield dict(zip(KEYS, (prompt, chosen, rejected), strict=True))
    if not config.mirror:
        return
    if opposite:
        persona = draw_items(opposite.persona, config.max_items, rng)
    # Only what the pair shows is turned: on all other dimensions the two users are alike.
    turned = tuple(-d if shown else d for d, shown in zip(directions, example.directions, strict=True))
    mirrored = _prompt(method, persona, turned, example)
    yield dict(zip(KEYS, (mirrored, rejected, chosen), strict=True))


def _prompt(method: PromptedMethod, persona: Persona, directions: Directions, example: Example) -> str:
    return method.render(method.adapt(persona.with_directions(directions)), example.prompt)


def draw_items(persona: Persona, most: int, rng: Random) -> Persona:
    """0 to `most` items of each kind, and at least one item if there is any (paper, C.2)."""
    n_ugc, n_pairs = rng.randint(0, most), rng.randint(0, most)
    if not n_ugc and not n_pairs:
        n_ugc = n_pairs = most
    ugc = rng.sample(persona.ugc, min(n_ugc, len(persona.ugc)))
    pairs = rng.sample(persona.pairs, min(n_pairs, len(persona.pairs)))
    return replace(persona, ugc=tuple(ugc), pairs=tuple(pairs))


def profile(pair: Directions, items: Sequence[Directions | None], rule: VoteInferrer, rng: Random) -> Directions:
    """The directions of a user who would choose so.

    Each direction of the pair is named with probability 1/2, and at least one is. Where the pair shows none, the vote
    of the items decides.
    """
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
    """Write rows into `out`, and beside it (`..._too_long`) those that the host would cut or drop silently.

    Returns how many there are of each. Raises `DataError` if none is short enough.
    """
    rows = list(dpo_rows(recipe, config, examples, mirrored))
    fit, too_long = load_host().dpo_rows(rows, config.args, base)
    beside = out.with_name(f"{out.stem}_too_long{out.suffix}")
    # An earlier run may have left rows here, which this one would not overwrite if it has none.
    beside.unlink(missing_ok=True)
    if too_long:
        write_rows(beside, iter(too_long))
    return write_rows(out, iter(fit)), len(too_long)


def write_rows(path: Path, rows: Iterator[dict[str, Any]]) -> int:
    """Write JSON lines; return how many."""
    path.parent.mkdir(parents=True, exist_ok=True)
    written = 0
    with path.open("w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            written += 1
    return written
