"""Evidence that carries no directions yet, read by an annotator."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from persona_rm.backends.base import Backends
from persona_rm.inferrers.item_reader import MIDDLE, PromptAndText, texts_in, votes_of
from persona_rm.types import Directions, Levels, Pair, Persona, Ugc


def annotated(people: Sequence[Persona], backends: Backends) -> list[Persona]:
    """The people with directions on every item: those that the data give, else as the annotator reads them. Every
    text is read once, in one call. Raises `RecipeError` where there are texts to read and no annotator."""
    texts = {
        asked for person in people for item in person.items if item.directions is None for asked in texts_in(item)
    }
    if not texts:
        return list(people)
    order, reader = sorted(texts), backends.need_reader("evidence without directions")
    read = reader.levels([prompt for prompt, _ in order], [text for _, text in order])
    levels = dict(zip(order, read, strict=True))
    return [_read(person, levels) for person in people]


def _read(persona: Persona, levels: Mapping[PromptAndText, Levels]) -> Persona:
    ugc = tuple(replace(u, directions=_directions(u, levels)) for u in persona.ugc)
    return replace(persona, ugc=ugc, pairs=tuple(replace(p, directions=_directions(p, levels)) for p in persona.pairs))


def _directions(item: Ugc | Pair, levels: Mapping[PromptAndText, Levels]) -> Directions:
    if item.directions is not None:
        return item.directions
    rows = [levels[asked] for asked in texts_in(item)]
    return votes_of(rows[0], rows[1] if len(rows) > 1 else (MIDDLE,) * len(rows[0]))
