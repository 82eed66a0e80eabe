"""Small backends that answer by the letters of a text, and two users: fast, deterministic, with a fault on demand."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from persona_rm.backends.base import Backends, SequenceLogProb, Vectors
from persona_rm.methods import METHODS
from persona_rm.methods.base import Method
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comparison, Levels, Pair, Persona, RewardRequest, RewardResult, Ugc, UserState

FAULT = "@fault@"
COMPARISONS = [Comparison(f"u{i % 3}", f"post {i}", f"good {i} good", f"bad {i}") for i in range(12)]


def number(*texts: str) -> float:
    """A number in [0, 1) that depends on every letter."""
    return int(hashlib.sha256("\x1f".join(texts).encode()).hexdigest()[:8], 16) / 2**32


class LetterLogProb:
    """Negative sums; NaN where the response carries FAULT."""

    def __init__(self, reference: bool = True) -> None:
        self.reference = reference
        self.calls: list[list[tuple[str, str]]] = []

    def logprob(self, prompts: Sequence[str], responses: Sequence[str]) -> list[SequenceLogProb]:
        rows = list(zip(prompts, responses, strict=True))
        self.calls.append(rows)
        return [self.one(prompt, response) for prompt, response in rows]

    def one(self, prompt: str, response: str) -> SequenceLogProb:
        tokens = len(response.split()) + 1
        policy = math.nan if FAULT in response else -tokens * (1 + number("policy", prompt, response))
        return SequenceLogProb(
            policy, -tokens * (1 + number("ref", prompt, response)) if self.reference else None, tokens
        )


class LetterEncoder:
    """16 numbers per text, unit norm; NaN where the text carries FAULT."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        rows = np.array([[number(str(i), text) - 0.5 for i in range(16)] for text in texts], np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        rows[[FAULT in text for text in texts]] = math.nan
        return rows


class LetterReader:
    """A level per dimension; one of them NaN where the text carries FAULT."""

    def __init__(self, space: PreferenceSpace) -> None:
        self.space = space
        self.asked: list[tuple[str, str]] = []

    def levels(self, prompts: Sequence[str], texts: Sequence[str]) -> list[Levels]:
        self.asked += zip(prompts, texts, strict=True)
        return [self.one(prompt, text) for prompt, text in zip(prompts, texts, strict=True)]

    def one(self, prompt: str, text: str) -> Levels:
        found: list[Any] = [1 + int(3 * number(id_, prompt, text)) for id_ in self.space.ids]
        return tuple([math.nan, *found[1:]] if FAULT in text else found)


def letter_backends(space: PreferenceSpace) -> Backends:
    return Backends(LetterEncoder(), LetterLogProb(), LetterReader(space))


def make(name: str, space: PreferenceSpace, backends: Backends | None = None, **config: Any) -> Method:
    """A method of the zoo on letter backends, fitted."""
    member = METHODS.load(name)
    method: Method = member(member.Config(**config), space, backends or letter_backends(space))
    method.fit(COMPARISONS)
    return method


def persona(space: PreferenceSpace, user: str = "ann", sign: int = 1) -> Persona:
    directions = (sign, -sign, 0, sign, *space.neutral[4:])
    ugc = tuple(Ugc(f"{user} post {i}", f"{user} comment {i}", directions) for i in range(3))
    pairs = tuple(Pair(f"{user} ask {i}", f"{user} yes {i}", f"{user} no {i}", directions) for i in range(2))
    return Persona(user, ugc, pairs, f"{user} is a person.", directions)


@dataclass(frozen=True)
class SampleGroup:
    """Responses to one prompt, to be scored for one user state."""

    state: UserState
    requests: tuple[RewardRequest, ...]


def ask(state: UserState, *responses: str, prompt: str = "the post") -> SampleGroup:
    return SampleGroup(state, tuple(RewardRequest(state.user_id, prompt, response) for response in responses))


def score(method: Method, *groups: SampleGroup) -> list[list[RewardResult]]:
    """The results of each group, all scored in one batch."""
    states = [group.state for group in groups for _ in group.requests]
    results = iter(method.score(states, [request for group in groups for request in group.requests]))
    return [[next(results) for _ in group.requests] for group in groups]


def rewards(method: Method, *groups: SampleGroup) -> list[tuple[float, ...]]:
    """The rewards of each group, all scored in one batch."""
    return [tuple(result.reward for result in results) for results in score(method, *groups)]
