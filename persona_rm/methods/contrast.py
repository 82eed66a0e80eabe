"""Contrast: the change that a user makes under one untrained model (NextQuill's preference effect as a reward)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from persona_rm.backends.base import SequenceLogProb
from persona_rm.config import Config
from persona_rm.methods.base import Control, Need, Reads
from persona_rm.methods.implicit import FormattedMethod, LengthNormalisation, per_token, sequences
from persona_rm.methods.states import (
    ItemsConfig,
    directions_of,
    directions_state,
    half_of_each,
    items_of,
    items_state,
    neutral_payload,
)
from persona_rm.types import Persona, Prompt, RewardRequest, RewardResult, UserState


class ContrastConfig(ItemsConfig):
    """`persona_as`: the user enters by items ("ica") or by directions ("pba"). `beta` scales the reward."""

    persona_as: Literal["ica", "pba"] = "pba"
    beta: float = 1.0
    normalise: LengthNormalisation = "sum"


class Contrast(FormattedMethod):
    """r = beta (log pi(y|x,P) - log pi(y|x)) under the policy; exactly 0 for an unknown user. Needs no reference."""

    name: ClassVar[str] = "contrast"
    Config: ClassVar[type[Config]] = ContrastConfig
    needs: ClassVar[frozenset[Need]] = frozenset({"policy"})
    controls: ClassVar[frozenset[Control]] = frozenset({"flip", "shuffled", "no_user"})
    # No "history": two prompts per response make it the most expensive control, and nothing here was trained to read
    # more items.

    @property
    def reads(self) -> Reads:
        """The items or the directions, as `persona_as` says, unless the configuration leaves the user out."""
        if self.config.persona == "none":
            return "nothing"
        return "items" if self.config.persona_as == "ica" else "directions"

    @classmethod
    def settings_for(cls, n_items: int) -> Mapping[str, Any]:
        """Up to `n_items` in the prompt, if items enter it."""
        return half_of_each(n_items)

    def prior(self) -> UserState:
        """No item, or all directions neutral: the plain prompt."""
        return UserState(self.name, None, neutral_payload(self.space) if self.config.persona_as == "pba" else {})

    def adapt(self, evidence: Persona, state: UserState | None = None) -> UserState:
        """As ICA or as PBA does."""
        if self.config.persona_as == "ica":
            return items_state(self.name, evidence, state, self.config)
        return directions_state(self.name, evidence, state, self.space, ignore=self.config.persona == "none")

    def render(self, state: UserState, prompt: Prompt) -> str:
        """The prompt with the user's items or directions."""
        if self.config.persona_as == "ica":
            return self.prompts.ica(items_of(state), prompt)
        return self.prompts.pba(self.space.describe(directions_of(state, self.space)), prompt)

    def rewards(self, states: Sequence[UserState], requests: Sequence[RewardRequest]) -> list[RewardResult]:
        """Scores both prompts of every response in one batch, so that equal prompts give exactly 0."""
        renders = (self.render, lambda _state, prompt: self.prompts.plain(prompt))
        rows = sequences(self.backends.need_logprob(self.name), states, requests, *renders, escape=self.response)
        return [
            self.result(state, request, self._effect(given, plain))
            for state, request, (given, plain) in zip(states, requests, rows, strict=True)
        ]

    def _effect(self, given: SequenceLogProb, plain: SequenceLogProb) -> float:
        with_user = per_token(given.policy, given.tokens, self.config.normalise)
        without = per_token(plain.policy, plain.tokens, self.config.normalise)
        return float(self.config.beta * (with_user - without))
