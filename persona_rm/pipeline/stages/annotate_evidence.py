"""Directions for evidence that carries none yet, read by an annotator."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from persona_rm.backends.base import Backends
from persona_rm.benchmarks.base import Case
from persona_rm.inferrers.item_reader import PromptAndText, item_votes, texts_in
from persona_rm.types import Directions, Levels, Pair, Persona, Ugc


def annotated(personas: Sequence[Persona], backends: Backends) -> list[Persona]:
    """The personas with directions on every item: those that the data give, else what the annotator reads.

    Every text is read once, in one call. Raises `RecipeError` if there are texts to read and no annotator.
    """
    texts: set[PromptAndText] = set()
    for persona in personas:
        for item in persona.items:
            if item.directions is None:
                texts.update(texts_in(item))
    if not texts:
        return list(personas)
    # Sorted, because the order of a set of texts differs between processes.
    order, reader = sorted(texts), backends.need_reader("evidence without directions")
    read = reader.levels([prompt for prompt, _ in order], [text for _, text in order])
    levels = dict(zip(order, read, strict=True))
    return [_with_directions(persona, levels) for persona in personas]


def annotated_cases(cases: Sequence[Case], backends: Backends) -> list[Case]:
    """The cases with directions on every item of their evidence."""
    personas = annotated([case.example.persona for case in cases], backends)
    return [case.with_persona(persona) for case, persona in zip(cases, personas, strict=True)]


def _with_directions(persona: Persona, levels: Mapping[PromptAndText, Levels]) -> Persona:
    ugc = tuple(replace(item, directions=_directions(item, levels)) for item in persona.ugc)
    pairs = tuple(replace(item, directions=_directions(item, levels)) for item in persona.pairs)
    return replace(persona, ugc=ugc, pairs=pairs)


def _directions(item: Ugc | Pair, levels: Mapping[PromptAndText, Levels]) -> Directions:
    if item.directions is not None:
        return item.directions
    return item_votes(item, levels)
