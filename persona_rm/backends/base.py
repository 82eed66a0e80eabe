"""What a method or an annotator may ask for. A recipe builds it once and hands it over in a `Backends`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

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
class Generation:
    """What a language model answered to one prompt, or why it did not: then `error` is set and the rest means nothing.

    `tokens` are the generated ones as text, `logprob` theirs in nats under the restriction that the backend imposed;
    empty and None where the backend gives none. `cached_tokens` of the `prompt_tokens` were read from a prefix cache.
    An error never carries text of a prompt or an answer: it is a reason, and reasons are counted.
    """

    text: str = ""
    logprob: tuple[float, ...] | None = None
    tokens: tuple[str, ...] = ()
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    error: str = ""


class Generator(Protocol):
    """Prompts -> the most probable answers, in order. One prompt that fails has an error; nothing is raised for it.

    The answer is one of `choices`, or JSON of `schema`, where they are given (not both) and the backend can impose it;
    a caller parses as if it could not. Prompts that begin alike are cheap one after the other. Raises `HostError`
    where the engine or the server is down, `MissingExtra` where a package is missing.
    """

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int,
        schema: Mapping[str, Any] | None = None,
        choices: Sequence[str] | None = None,
    ) -> list[Generation]: ...


@dataclass(frozen=True, slots=True)
class Backends:
    """What a recipe built. A method asks by `need`, which says what is missing."""

    encoder: Encoder | None = None
    logprob: LogProb | None = None
    reader: LevelReader | None = None
    generator: Generator | None = None

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

    def need_generator(self, who: str) -> Generator:
        """The language model that answers prompts, or `RecipeError`."""
        if self.generator is None:
            raise RecipeError(f"{who} needs a generator (vLLM or an OpenAI-compatible server) and was handed none")
        return self.generator
