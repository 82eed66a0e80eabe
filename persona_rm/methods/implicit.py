"""Rewards from log-probabilities, shared by ICA, PBA and contrast: rendering, one flat batch, normalisation."""

from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import Field

from persona_rm.backends.base import Backends, LogProb, SequenceLogProb
from persona_rm.config import Config
from persona_rm.errors import RecipeError, ScoreError
from persona_rm.methods.states import PromptConfig
from persona_rm.prompts import PromptFormat, load_prompts
from persona_rm.types import RewardRequest, UserState

LengthNormalisation = Literal["sum", "token"]
"""sum: over response tokens, as DPO trains; token: the mean, so that length does not decide."""

Render = Callable[[UserState, str], str]


class RatioConfig(Config):
    """The implicit reward of DPO: its beta, and its normalisation by length."""

    beta: float = Field(0.1, gt=0)
    normalise: LengthNormalisation = "sum"


def prompt_format(config: PromptConfig, backends: Backends, who: str) -> PromptFormat:
    """The configured format, bound to the log-prob backend's chat template if it asks for one."""
    prompts = load_prompts(config.prompts, config.chat)
    if prompts.chat != "template":
        return prompts
    apply = getattr(backends.need_logprob(who), "chat", None)
    if apply is None:
        raise RecipeError(f"{who}: chat 'template' needs a log-prob backend that has the tokenizer's chat template")
    return prompts.with_template(apply)


def sequences(
    backend: LogProb, states: Sequence[UserState], requests: Sequence[RewardRequest], *renders: Render
) -> list[tuple[SequenceLogProb, ...]]:
    """The log-probs of every response under each rendering of its prompt, in one call of the backend.

    Raises `ScoreError` with the positions of requests if the backend's error names rows of its batch.
    """
    # One flat batch, request by request and rendering by rendering, so that the backend sees every text in one call.
    prompts, responses = [], []
    for state, request in zip(states, requests, strict=True):
        prompts += [render(state, request.prompt) for render in renders]
        responses += [request.response] * len(renders)
    try:
        flat = backend.logprob(prompts, responses) if prompts else []
    except ScoreError as error:
        raise error.at(*sorted({row // len(renders) for row in error.rows})) from error
    if len(flat) != len(prompts):
        raise ScoreError(f"the log-prob backend gave {len(flat)} values for {len(prompts)} texts")
    return [tuple(flat[i : i + len(renders)]) for i in range(0, len(flat), len(renders))]


def log_ratio(row: SequenceLogProb, normalise: LengthNormalisation, who: str) -> float:
    """log pi - log pi_ref of one response. Raises `RecipeError` if the backend has no reference model."""
    if row.reference is None:
        raise RecipeError(f"{who} compares a policy with a reference model, and the log-prob backend has no reference")
    return per_token(row.policy - row.reference, row.tokens, normalise)


def per_token(value: float, tokens: int, normalise: LengthNormalisation) -> float:
    """The value itself, or its mean over `tokens`."""
    return value if normalise == "sum" else value / tokens
