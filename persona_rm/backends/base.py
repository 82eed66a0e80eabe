"""Protocols of the models that a method or an annotator can ask for. A recipe builds them once, as `Backends`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from persona_rm.errors import RecipeError
from persona_rm.prompts import ChatTemplate
from persona_rm.types import Levels

Vectors = npt.NDArray[np.float32]


class Encoder(Protocol):
    """Turns texts into unit vectors of shape (n, dim), float32. Vectors are cached by text."""

    def encode(self, texts: Sequence[str]) -> Vectors: ...


@dataclass(frozen=True, slots=True)
class SequenceLogProb:
    """Sum over response tokens of log p(token | prompt, earlier tokens), in nats, under each model."""

    policy: float
    reference: float | None
    tokens: int


class LogProb(Protocol):
    """Log-probabilities of given responses under one or two models.

    The sum of a response that ended by itself includes the end token. `finished` (None: all are) says which did.
    Raises `ScoreError` if a result is not finite or a text is too long.
    """

    def logprob(
        self, prompts: Sequence[str], responses: Sequence[str], finished: Sequence[bool] | None = None
    ) -> list[SequenceLogProb]: ...


class LevelReader(Protocol):
    """Turns texts into levels (1 to 3) on every dimension of the space: an annotator, as a method sees it."""

    def levels(self, prompts: Sequence[str], texts: Sequence[str]) -> list[Levels]: ...


@runtime_checkable
class ContrastReader(Protocol):
    """Turns texts into continuous readings, shape (n, dimensions): above 0 towards the positive pole of a dimension,
    below 0 towards the negative one, 0 if the text does not say. An annotator has them if it has more than levels."""

    def contrasts(self, prompts: Sequence[str], texts: Sequence[str]) -> Vectors: ...


@dataclass(frozen=True, slots=True)
class Generation:
    """The answer of a language model to one prompt. If `error` is set, the other fields are void.

    `tokens` are the generated tokens as text. `logprob` holds their log-probabilities in nats, under the restriction
    that the backend imposed. They are empty and None if the backend gives none. `cached_tokens` counts those of the
    `prompt_tokens` that were read from a prefix cache. An error never contains text of a prompt or an answer, because
    reasons are counted and logged.
    """

    text: str = ""
    logprob: tuple[float, ...] | None = None
    tokens: tuple[str, ...] = ()
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    finished: bool = True
    """False if the answer was cut at its limit instead of ending by itself; backends that cannot tell say True."""
    error: str = ""


class Generator(Protocol):
    """Turns prompts into the most probable answers, in order. A prompt that fails gets an error; nothing is raised.

    If `choices` or `schema` is given (not both), the backend restricts the answer to it where it can. A caller must
    parse as if it could not. Prompts with a common prefix are cheap if they follow one another. Raises `HostError`
    if the engine or the server is down, and `MissingExtra` if a package is missing.
    """

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int,
        schema: Mapping[str, Any] | None = None,
        choices: Sequence[str] | None = None,
    ) -> list[Generation]: ...


class Sampler(Protocol):
    """Draws several answers of a policy to each prompt, which is read as it is: special tokens are part of its text.

    The answers of a prompt depend on the prompt and its seed only, not on the other prompts of the call. A prompt
    that fails gets one `Generation` with an error. Raises `HostError` if the engine is down.
    """

    def sample(
        self, prompts: Sequence[str], seeds: Sequence[int], *, n: int, max_tokens: int, temperature: float
    ) -> list[list[Generation]]: ...


@dataclass(frozen=True, slots=True)
class Backends:
    """The models that a recipe built. The methods `need_...` raise `RecipeError` if a model is missing."""

    encoder: Encoder | None = None
    logprob: LogProb | None = None
    reader: LevelReader | None = None
    generator: Generator | None = None
    chat: ChatTemplate | None = None
    """The chat side of the policy's tokenizer. None: that of `logprob`, if it has one."""
    folder: Path | None = None
    """Where features of texts are kept between runs. None keeps none."""

    def forget_texts(self) -> None:
        """Drop what the models keep of texts between calls: vectors, and keys and values of prompts."""
        for model in (self.encoder, self.logprob, self.reader, self.generator):
            if (forget := getattr(model, "forget_texts", None)) is not None:
                forget()

    def chat_template(self) -> ChatTemplate | None:
        """The chat side of the policy's tokenizer; None if no tokenizer is known."""
        return self.chat or getattr(self.logprob, "chat", None)

    def need_encoder(self, who: str) -> Encoder:
        """The encoder. Raises `RecipeError` if there is none."""
        if self.encoder is None:
            raise RecipeError(f"{who} needs a text encoder and was handed none")
        return self.encoder

    def need_logprob(self, who: str) -> LogProb:
        """The log-prob backend. Raises `RecipeError` if there is none."""
        if self.logprob is None:
            raise RecipeError(
                f"{who} needs a log-prob backend (a policy and a reference model) and was handed none: name "
                "`policy` (and, for a trained one, its `reference`) in bundle.yaml"
            )
        return self.logprob

    def need_reader(self, who: str) -> LevelReader:
        """The annotator. Raises `RecipeError` if there is none."""
        if self.reader is None:
            raise RecipeError(f"{who} needs an annotator and was handed none: name `annotator` in bundle.yaml")
        return self.reader

    def need_generator(self, who: str) -> Generator:
        """The language model that answers prompts. Raises `RecipeError` if there is none."""
        if self.generator is None:
            raise RecipeError(f"{who} needs a generator (vLLM or an OpenAI-compatible server) and was handed none")
        return self.generator
