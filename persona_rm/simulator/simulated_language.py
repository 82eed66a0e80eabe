"""The language of the simulator: how intensities become text, and how text is read back.

A pole has seven wordings. "train" text uses the first five, "test" text the last two, "any" text all of them, so that
a method can be tested on wordings that no preference example ever showed. `read_levels` recovers the intensities of
any text, generated answers included: a wording counts once however often it is repeated, and text that is not a
wording is ignored.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from random import Random
from typing import Literal

import yaml

from persona_rm.space import PreferenceSpace
from persona_rm.types import Levels

Split = Literal["train", "test", "any"]
N_TRAIN_WORDINGS = 5
N_TRAIN_QUESTIONS = 9
Intensities = Mapping[int, int]
"""dimension -> -1 or 1: what a text expresses; dimensions that it does not mention are left out."""


@dataclass(frozen=True, slots=True)
class Topic:
    """What posts are about, and which dimensions tend to show under them."""

    name: str
    nouns: tuple[str, ...]
    dims: tuple[int, ...]


@dataclass(frozen=True)
class Language:
    """The lexicon of one space. `wordings[dim, sign]` are the clauses of a pole, sign 1 the positive one."""

    space: PreferenceSpace
    wordings: Mapping[tuple[int, int], tuple[str, ...]]
    topics: tuple[Topic, ...]
    tones: tuple[str, ...]
    questions: tuple[str, ...]
    fillers: tuple[str, ...]
    openers: tuple[str, ...]
    correlated: tuple[tuple[int, int, int], ...]
    pattern: re.Pattern[str]
    poles: Mapping[str, tuple[int, int]]

    @cached_property
    def active(self) -> tuple[int, ...]:
        """The dimensions that this language can express, in the order of the space."""
        return tuple(sorted({dim for dim, _ in self.wordings}))

    def say(self, dim: int, sign: int, split: Split, rng: Random) -> str:
        """One wording of a pole."""
        clauses = self.wordings[dim, sign]
        allowed = {"train": clauses[:N_TRAIN_WORDINGS], "test": clauses[N_TRAIN_WORDINGS:], "any": clauses}[split]
        return rng.choice(allowed)

    def write(self, intensities: Intensities, split: Split, rng: Random) -> str:
        """A response: one clause per expressed dimension, 0 to 3 fillers, shuffled."""
        parts = [self.say(dim, sign, split, rng) for dim, sign in intensities.items()]
        # Openers and fillers are about no dimension: they vary the length and the shape of a text.
        parts = [f"{rng.choice(self.openers)}, {part}" if rng.random() < 0.2 else part for part in parts]
        parts += rng.sample(self.fillers, rng.randint(0, 3))
        rng.shuffle(parts)
        return ". ".join(parts) + "."

    def read_levels(self, text: str) -> Levels:
        """Intensity 1..3 per dimension of the space: which pole has more distinct wordings in the text; 2 if
        neither."""
        # A set, so that a wording counts once: a text that repeats itself must not gain by it.
        found = set(self.pattern.findall(re.sub(r"[^a-z]+", " ", text.lower())))
        net = dict.fromkeys(self.active, 0)
        for clause in found:
            dim, sign = self.poles[clause]
            net[dim] += sign
        return tuple(2 + _sign(net.get(dim, 0)) for dim in range(len(self.space)))

    def levels(self, intensities: Intensities) -> Levels:
        """The intensities as 1..3 over the whole space."""
        levels = [2] * len(self.space)
        for dim, sign in intensities.items():
            levels[dim] += sign
        return tuple(levels)


def _sign(x: float) -> int:
    return (x > 0) - (x < 0)


@cache
def load_language(space: PreferenceSpace) -> Language:
    """The packaged lexicon over `space`. Raises DataError if the space lacks a label of it."""
    raw = yaml.safe_load((files("persona_rm.simulator") / "lexicon.yaml").read_text(encoding="utf-8"))
    wordings = {_pole(space, label): tuple(clauses) for label, clauses in raw["poles"].items()}
    poles = {clause: pole for pole, clauses in wordings.items() for clause in clauses}
    # The longest first: an alternation takes the first that fits, which could be the beginning of a longer wording.
    alternatives = "|".join(sorted(map(re.escape, poles), key=len, reverse=True))
    topics = (Topic(name, tuple(t["nouns"]), _dims(space, t["dims"])) for name, t in raw["topics"].items())
    lists = {key: tuple(raw[key]) for key in ("tones", "questions", "fillers", "openers")}
    return Language(
        space=space,
        wordings=wordings,
        topics=tuple(topics),
        correlated=tuple(_correlation(space, a, b) for a, b in raw["correlated"]),
        pattern=re.compile(rf"\b(?:{alternatives})\b"),
        poles=poles,
        **lists,
    )


def _pole(space: PreferenceSpace, label: str) -> tuple[int, int]:
    directions = space.parse(label)
    dim = next(i for i, direction in enumerate(directions) if direction)
    return dim, directions[dim]


def _dims(space: PreferenceSpace, labels: Sequence[str]) -> tuple[int, ...]:
    return tuple(_pole(space, label)[0] for label in labels)


def _correlation(space: PreferenceSpace, first: str, second: str) -> tuple[int, int, int]:
    turn = -1 if second.startswith("-") else 1
    (a, sign_a), (b, sign_b) = _pole(space, first), _pole(space, second.removeprefix("-"))
    return a, b, turn * sign_a * sign_b
