"""Evidence that carries no directions yet, read by an annotator."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from persona_rm.backends.base import LevelReader
from persona_rm.types import Directions, Levels, Persona, Ugc


def annotated(people: Sequence[Persona], reader: LevelReader) -> list[Persona]:
    """The people with directions on every item: those that the data give, else as the annotator reads them. Every
    text is read once, in one call."""
    texts = {
        (item.prompt, text)
        for person in people
        for item in person.items
        if item.directions is None
        for text in ((item.comment,) if isinstance(item, Ugc) else (item.chosen, item.rejected))
    }
    order = sorted(texts)
    levels = (
        dict(zip(order, reader.levels([p for p, _ in order], [t for _, t in order]), strict=True)) if order else {}
    )
    return [_read(person, levels) for person in people]


def _read(persona: Persona, levels: Mapping[tuple[str, str], Levels]) -> Persona:
    ugc = tuple(
        u if u.directions is not None else replace(u, directions=_signs(levels[u.prompt, u.comment]))
        for u in persona.ugc
    )
    pairs = tuple(
        p
        if p.directions is not None
        else replace(p, directions=_signs(levels[p.prompt, p.chosen], levels[p.prompt, p.rejected]))
        for p in persona.pairs
    )
    return replace(persona, ugc=ugc, pairs=pairs)


def _signs(levels: Levels, against: Levels | None = None) -> Directions:
    other = against or (2,) * len(levels)
    return tuple((a > b) - (a < b) for a, b in zip(levels, other, strict=True))
