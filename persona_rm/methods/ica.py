"""In-context alignment: the persona itself stands in the prompt (AlignX, arXiv 2503.15463, section 5, eq. 1)."""

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

from persona_rm.config import Config
from persona_rm.methods.base import Method
from persona_rm.methods.implicit import RatioConfig, policy_scores, prompt_format
from persona_rm.methods.states import ItemsConfig, items_of, items_state
from persona_rm.prompts import PromptFormat
from persona_rm.types import Persona, Score, ScoreRequest, UserState


class ICAConfig(ItemsConfig, RatioConfig):
    """Published: up to 4 + 4 items, beta 0.1, the sum over tokens."""


class ICA(Method):
    """r(x, y, P) = beta (log pi(y|x,P) - log pi_ref(y|x,P)); both models see the persona. State: its items."""

    name: ClassVar[str] = "ica"
    Config: ClassVar[type[Config]] = ICAConfig
    needs = "trained policy"

    @cached_property
    def prompts(self) -> PromptFormat:
        """The prompt format, read on first use."""
        return prompt_format(self.config, self.backends, self.name)

    def adapt(self, persona: Persona, state: UserState | None = None) -> UserState:
        """The persona's items after those of `state`, cut to `n_ugc` and `n_pairs`."""
        return items_state(self.name, persona, state, self.config)

    def render(self, state: UserState, prompt: str) -> str:
        """What the model reads: the one place that training rows, scores and rollouts share."""
        return self.prompts.ica(items_of(state), prompt)

    def rewards(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """Eq. 1 for every response, in one batch."""
        return policy_scores(self.backends.need_logprob(self.name), requests, self.render, self.config, self.name)
