"""The three things a method may ask for. A recipe builds them once and hands them over in a `Backends`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from persona_rm.errors import RecipeError
from persona_rm.types import Levels

Vectors = npt.NDArray[np.float32]


class Encoder(Protocol):
    """Texts -> unit vectors of shape (n, dim), float32, cached by text."""

    def encode(self, texts: Sequence[str]) -> Vectors: ...


@dataclass(frozen=True, slots=True)
class SequenceLogProb:
    """Sum over response tokens of log p(token | prompt, earlier tokens), in nats, under each model."""

    policy: float
    reference: float | None
    tokens: int


class LogProb(Protocol):
    """Log-probabilities of given responses under one or two models. Raises `ScoreError` on NaN or a text too long."""

    def logprob(self, prompts: Sequence[str], responses: Sequence[str]) -> list[SequenceLogProb]: ...


class LevelReader(Protocol):
    """Texts -> intensity 1..3 on every dimension of the space (an annotator, seen from a method)."""

    def levels(self, prompts: Sequence[str], texts: Sequence[str]) -> list[Levels]: ...


@dataclass(frozen=True, slots=True)
class Backends:
    """What a recipe built. A method asks by `need`, which says what is missing."""

    encoder: Encoder | None = None
    logprob: LogProb | None = None
    reader: LevelReader | None = None

    def need_encoder(self, who: str) -> Encoder:
        """The encoder, or `RecipeError`."""
        if self.encoder is None:
            raise RecipeError(f"{who} needs a text encoder and was handed none")
        return self.encoder

    def need_logprob(self, who: str) -> LogProb:
        """The log-prob backend, or `RecipeError`."""
        if self.logprob is None:
            raise RecipeError(f"{who} needs a log-prob backend (a policy and a reference model) and was handed none")
        return self.logprob

    def need_reader(self, who: str) -> LevelReader:
        """The intensity reader, or `RecipeError`."""
        if self.reader is None:
            raise RecipeError(f"{who} needs an annotator and was handed none")
        return self.reader
