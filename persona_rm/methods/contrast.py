"""Contrast: what the person changes under one model, untrained (NextQuill's preference effect as a reward)."""

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar, Literal

from persona_rm.backends.base import SequenceLogProb
from persona_rm.config import Config
from persona_rm.methods.base import Need, PromptedMethod
from persona_rm.methods.implicit import LengthNormalisation, per_token, prompt_format, sequences
from persona_rm.methods.states import (
    ItemsConfig,
    directions_of,
    directions_state,
    items_of,
    items_state,
    neutral_payload,
)
from persona_rm.prompts import PromptFormat
from persona_rm.types import Persona, RewardRequest, RewardResult, UserState


class ContrastConfig(ItemsConfig):
    """`persona_as`: the person enters by items ("ica") or by directions ("pba"). `beta` scales the reward."""

    persona_as: Literal["ica", "pba"] = "pba"
    beta: float = 1.0
    normalise: LengthNormalisation = "sum"


class Contrast(PromptedMethod):
    """r = beta (log pi(y|x,P) - log pi(y|x)) under the policy; exactly 0 for a stranger. Needs no reference."""

    name: ClassVar[str] = "contrast"
    Config: ClassVar[type[Config]] = ContrastConfig
    needs: ClassVar[frozenset[Need]] = frozenset({"policy"})

    @cached_property
    def prompts(self) -> PromptFormat:
        """The prompt format, read on first use."""
        return prompt_format(self.config, self.backends, self.name)

    def prior(self) -> UserState:
        """No item, or all directions neutral: the plain prompt."""
        return UserState(self.name, None, neutral_payload(self.space) if self.config.persona_as == "pba" else {})

    def adapt(self, evidence: Persona, state: UserState | None = None) -> UserState:
        """As ICA or as PBA does."""
        if self.config.persona_as == "ica":
            return items_state(self.name, evidence, state, self.config)
        return directions_state(self.name, evidence, state, self.space, nobody=self.config.persona == "none")

    def render(self, state: UserState, prompt: str) -> str:
        """What the model reads with the person."""
        if self.config.persona_as == "ica":
            return self.prompts.ica(items_of(state), prompt)
        return self.prompts.pba(self.space.describe(directions_of(state, self.space)), prompt)

    def rewards(self, states: Sequence[UserState], requests: Sequence[RewardRequest]) -> list[RewardResult]:
        """Both prompts of every response in one batch, so that equal prompts give exactly 0."""
        renders = (self.render, lambda _state, prompt: self.prompts.plain(prompt))
        rows = sequences(self.backends.need_logprob(self.name), states, requests, *renders)
        return [
            self.result(state, request, self._effect(given, plain))
            for state, request, (given, plain) in zip(states, requests, rows, strict=True)
        ]

    def _effect(self, given: SequenceLogProb, plain: SequenceLogProb) -> float:
        with_user = per_token(given.policy, given.tokens, self.config.normalise)
        without = per_token(plain.policy, plain.tokens, self.config.normalise)
        return float(self.config.beta * (with_user - without))
