"""Preference directions of users whose data give none: an annotator reads their texts, an inferrer sums up.

For `pba_linear` on a team's own users. The annotator is `encoder`, which reads English text on a CPU without a
language model; the inferrer is the paper's vote, which learns nothing. The simulator's annotator is never used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from persona_rm.annotators import ANNOTATORS
from persona_rm.backends.base import Backends, ContrastReader, Encoder, LevelReader, Vectors
from persona_rm.errors import DataError, RecipeError
from persona_rm.inferrers import INFERRERS
from persona_rm.inferrers.item_reader import PromptAndText, item_votes, texts_in
from persona_rm.methods.base import Method
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comparison, Directions, Levels, Pair, Persona, RewardRequest, RewardResult, Ugc, UserState

ANNOTATOR: Mapping[str, Any] = {"name": "encoder"}
INFERRER: Mapping[str, Any] = {"name": "vote"}


class RememberedLevels:
    """A `LevelReader` that asks another one about each (prompt, text) once: a check reads a text many times."""

    def __init__(self, reader: LevelReader) -> None:
        self.reader = reader
        self._read: dict[PromptAndText, Levels] = {}

    def levels(self, prompts: Sequence[str], texts: Sequence[str]) -> list[Levels]:
        """The levels of each text."""
        asked = list(zip(prompts, texts, strict=True))
        new = [one for one in dict.fromkeys(asked) if one not in self._read]
        if new:
            read = self.reader.levels([prompt for prompt, _ in new], [text for _, text in new])
            self._read |= zip(new, read, strict=True)
        return [self._read[one] for one in asked]

    def contrasts(self, prompts: Sequence[str], texts: Sequence[str]) -> Vectors:
        """The continuous readings of the annotator. Raises `RecipeError` if it has levels only."""
        if not isinstance(self.reader, ContrastReader):
            raise RecipeError(f"the annotator {type(self.reader).__name__} gives levels and no contrasts")
        return self.reader.contrasts(prompts, texts)


class DirectionsReader:
    """Reads users' directions from their texts. `backends` are those of a method that reads the same texts."""

    def __init__(self, space: PreferenceSpace, encoder: Encoder) -> None:
        cls, config = ANNOTATORS.member(ANNOTATOR)
        reader = RememberedLevels(cls(config, space, Backends(encoder=encoder)))
        self.backends = Backends(encoder=encoder, reader=reader)
        cls, config = INFERRERS.member(INFERRER)
        self.inferrer = cls(config, space, self.backends)

    def read(self, personas: Sequence[Persona]) -> list[Persona]:
        """The users with votes on every item, and directions; given ones stay."""
        read = annotated(personas, self.backends)
        return [
            one if one.directions is not None else one.with_directions(self.inferrer.infer(one).directions)
            for one in read
        ]

    def read_any(self, personas: Sequence[Persona]) -> list[Persona]:
        """`read`. Raises `DataError` if no user has a direction: then every user would get the same reward."""
        read = self.read(personas)
        if not any(any(one.directions or ()) for one in read):
            raise DataError(
                f"the annotator {ANNOTATOR['name']!r} reads no preference in the texts of these {len(read):,} users, "
                "so all of them would get the same reward. It reads English; an annotator llm or http reads other "
                "texts, and a recipe names it (recipes/own_users.yaml)"
            )
        return read


class AnnotatedScorer:
    """A method of directions, as a check calls it: users are annotated when they are adapted."""

    def __init__(self, method: Method, reader: DirectionsReader) -> None:
        self.method, self.reader = method, reader

    def fit(self, comparisons: Sequence[Comparison]) -> None:
        """Nothing: neither the annotator nor the vote learns from comparisons."""

    def prior(self) -> UserState:
        """The state of an unknown user."""
        return self.method.prior()

    def adapt(self, evidence: Persona, state: UserState | None = None) -> UserState:
        """The user's directions."""
        return self.method.adapt(self.reader.read([evidence])[0], state)

    def score(self, states: Sequence[UserState], requests: Sequence[RewardRequest]) -> list[RewardResult]:
        """The method's rewards."""
        return self.method.score(states, requests)


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


def _with_directions(persona: Persona, levels: Mapping[PromptAndText, Levels]) -> Persona:
    ugc = tuple(replace(item, directions=_directions(item, levels)) for item in persona.ugc)
    pairs = tuple(replace(item, directions=_directions(item, levels)) for item in persona.pairs)
    return replace(persona, ugc=ugc, pairs=pairs)


def _directions(item: Ugc | Pair, levels: Mapping[PromptAndText, Levels]) -> Directions:
    if item.directions is not None:
        return item.directions
    return item_votes(item, levels)
