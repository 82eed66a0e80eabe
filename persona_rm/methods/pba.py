"""Preference-bridged alignment: directions in words in the prompt (AlignX, arXiv 2503.15463, section 5, eq. 2)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from persona_rm.config import Config
from persona_rm.methods.base import Control, Need, Reads
from persona_rm.methods.implicit import FormattedMethod, RatioConfig, log_ratio, sequences
from persona_rm.methods.states import PromptConfig, directions_of, directions_state, neutral_payload
from persona_rm.types import Persona, Prompt, RewardRequest, RewardResult, UserState


class PBAConfig(PromptConfig, RatioConfig):
    """Published: beta 0.1, the sum over tokens."""


class PBA(FormattedMethod):
    """r(x, y, P~) = beta (log pi(y|x,P~) - log pi_ref(y|x,P~)), P~ the user's directions. State: the directions."""

    name: ClassVar[str] = "pba"
    Config: ClassVar[type[Config]] = PBAConfig
    needs: ClassVar[frozenset[Need]] = frozenset({"policy", "reference"})
    controls: ClassVar[frozenset[Control]] = frozenset({"flip", "history", "shuffled", "no_user"})
    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"per_token": {"normalise": "token"}}

    @property
    def reads(self) -> Reads:
        """The directions, unless the configuration leaves the user out."""
        return "directions" if self.config.persona == "own" else "nothing"

    def prior(self) -> UserState:
        """All directions neutral: the plain prompt."""
        return UserState(self.name, None, neutral_payload(self.space))

    def adapt(self, evidence: Persona, state: UserState | None = None) -> UserState:
        """The user's directions. Raises `DataError` if no inferrer has set them."""
        return directions_state(self.name, evidence, state, self.space, ignore=self.config.persona == "none")

    def render(self, state: UserState, prompt: Prompt) -> str:
        """The prompt with the directions in words; training rows, rewards and rollouts share it."""
        return self.prompts.pba(self.space.describe(directions_of(state, self.space)), prompt)

    def rewards(self, states: Sequence[UserState], requests: Sequence[RewardRequest]) -> list[RewardResult]:
        """Eq. 2 for every response, in one batch."""
        # Policy and reference read the same prompt, the directions included, as in eq. 2.
        rows = sequences(self.backends.need_logprob(self.name), states, requests, self.render, escape=self.response)
        return [
            self.result(state, request, self.config.beta * log_ratio(row, self.config.normalise, self.name))
            for state, request, (row,) in zip(states, requests, rows, strict=True)
        ]
