"""Rewards from log-probabilities, shared by ICA, PBA and contrast: rendering, one flat batch, normalisation."""

from collections.abc import Callable, Sequence
from functools import cached_property
from typing import ClassVar, Literal

from pydantic import Field

from persona_rm.backends.base import LogProb, SequenceLogProb
from persona_rm.config import Config
from persona_rm.errors import DataError, RecipeError, ScoreError
from persona_rm.methods.base import PromptedMethod
from persona_rm.methods.states import PromptConfig
from persona_rm.prompts import PromptFormat, load_prompts
from persona_rm.types import Prompt, RewardRequest, UserState

LengthNormalisation = Literal["sum", "token"]
"""sum: over response tokens, as DPO trains; token: the mean, so that length does not decide."""

Render = Callable[[UserState, Prompt], str]


class RatioConfig(Config):
    """The implicit reward of DPO: its beta, and its normalisation by length."""

    beta: float = Field(0.1, gt=0)
    normalise: LengthNormalisation = "sum"


class FormattedMethod(PromptedMethod):
    """A prompted method whose prompts come from a prompt format, for the tokenizer of its policy."""

    takes_messages: ClassVar[bool] = True

    @cached_property
    def prompts(self) -> PromptFormat:
        """The configured format, read on first use.

        Raises `RecipeError` if it asks for the tokenizer's chat template, and no tokenizer is known.
        """
        config: PromptConfig = self.config
        prompts, template = load_prompts(config.prompts, config.chat), self.backends.chat_template()
        if prompts.chat == "template" and template is None:
            raise RecipeError(f"{self.name}: chat 'template' needs the chat template of a policy: name the policy")
        return prompts.with_template(template)

    def response(self, text: str) -> str:
        """The response, whose control tokens stay words."""
        return self.prompts.escape(text)


def sequences(
    backend: LogProb,
    states: Sequence[UserState],
    requests: Sequence[RewardRequest],
    *renders: Render,
    escape: Callable[[str], str] = str,
) -> list[tuple[SequenceLogProb, ...]]:
    """The log-probs of every response under each rendering of its prompt, in one call of the backend.

    `escape` keeps control tokens that a response spells words, as in the rows that DPO trains on. A response that was
    cut is scored without an end token.
    Raises `ScoreError` with the positions of requests if the backend's error names rows of its batch.
    """
    # One flat batch, request by request and rendering by rendering, so that the backend sees every text in one call.
    prompts, responses, finished = [], [], []
    for i, (state, request) in enumerate(zip(states, requests, strict=True)):
        prompts += [_rendered(render, state, request, i) for render in renders]
        responses += [escape(request.response)] * len(renders)
        finished += [request.finished] * len(renders)
    # A backend that knows no cut responses scores every batch that has none.
    cut = {} if all(finished) else {"finished": finished}
    try:
        flat = backend.logprob(prompts, responses, **cut) if prompts else []
    except ScoreError as error:
        raise error.at(*sorted({row // len(renders) for row in error.rows})) from error
    if len(flat) != len(prompts):
        raise ScoreError(f"the log-prob backend gave {len(flat)} values for {len(prompts)} texts")
    return [tuple(flat[i : i + len(renders)]) for i in range(0, len(flat), len(renders))]


def _rendered(render: Render, state: UserState, request: RewardRequest, row: int) -> str:
    """One prompt. Raises `ScoreError` with the row if its messages are no conversation for the chat template, so that
    other rows of the batch are scored."""
    try:
        return render(state, request.prompt)
    except (DataError, RecipeError) as error:
        if isinstance(request.prompt, str):
            raise
        raise ScoreError(str(error), (row,), "prompt") from error


def log_ratio(row: SequenceLogProb, normalise: LengthNormalisation, who: str) -> float:
    """log pi - log pi_ref of one response. Raises `RecipeError` if the backend has no reference model."""
    if row.reference is None:
        raise RecipeError(f"{who} compares a policy with a reference model, and the log-prob backend has no reference")
    return per_token(row.policy - row.reference, row.tokens, normalise)


def per_token(value: float, tokens: int, normalise: LengthNormalisation) -> float:
    """The value itself, or its mean over `tokens`; a cut response of no tokens has the value 0."""
    return value if normalise == "sum" else value / max(tokens, 1)
