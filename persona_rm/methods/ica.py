"""In-context alignment: the persona itself stands in the prompt (AlignX, arXiv 2503.15463, section 5, eq. 1)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from persona_rm.config import Config
from persona_rm.methods.base import Control, Need, Reads
from persona_rm.methods.implicit import FormattedMethod, RatioConfig, log_ratio, sequences
from persona_rm.methods.states import ItemsConfig, half_of_each, items_of, items_state
from persona_rm.types import Persona, Prompt, RewardRequest, RewardResult, UserState


class ICAConfig(ItemsConfig, RatioConfig):
    """Published: up to 4 + 4 items, beta 0.1, the sum over tokens."""


class ICA(FormattedMethod):
    """r(x, y, P) = beta (log pi(y|x,P) - log pi_ref(y|x,P)); both models read the user's items. State: the items."""

    name: ClassVar[str] = "ica"
    Config: ClassVar[type[Config]] = ICAConfig
    needs: ClassVar[frozenset[Need]] = frozenset({"policy", "reference"})
    controls: ClassVar[frozenset[Control]] = frozenset({"flip", "history", "shuffled", "no_user"})

    @property
    def reads(self) -> Reads:
        """The items, unless the configuration leaves the user out."""
        return "items" if self.config.persona == "own" else "nothing"

    @classmethod
    def settings_for(cls, n_items: int) -> Mapping[str, Any]:
        """Up to `n_items` in the prompt."""
        return half_of_each(n_items)

    def adapt(self, evidence: Persona, state: UserState | None = None) -> UserState:
        """The user's items after those of `state`, cut to `n_ugc` and `n_pairs`."""
        return items_state(self.name, evidence, state, self.config)

    def render(self, state: UserState, prompt: Prompt) -> str:
        """The prompt with the user's items; training rows, rewards and rollouts share it."""
        return self.prompts.ica(items_of(state), prompt)

    def rewards(self, states: Sequence[UserState], requests: Sequence[RewardRequest]) -> list[RewardResult]:
        """Eq. 1 for every response, in one batch."""
        # Policy and reference read the same prompt, the user included, as in eq. 1.
        rows = sequences(self.backends.need_logprob(self.name), states, requests, self.render, escape=self.response)
        return [
            self.result(state, request, self.config.beta * log_ratio(row, self.config.normalise, self.name))
            for state, request, (row,) in zip(states, requests, rows, strict=True)
        ]
