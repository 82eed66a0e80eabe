"""Bradley-Terry on frozen embeddings: one reward for all users, the control that every personal method must beat."""

from collections.abc import Sequence
from typing import ClassVar

from persona_rm.config import Config
from persona_rm.methods.base import Control, Reads
from persona_rm.methods.pooled import PooledConfig, PooledMethod
from persona_rm.methods.states import next_version
from persona_rm.types import Persona, RewardRequest, RewardResult, UserState


class BradleyTerryConfig(PooledConfig):
    """The settings of the pooled reward."""


class BradleyTerry(PooledMethod):
    """r(x, y) = w . f(x, y), the same for every user. State: nothing."""

    name: ClassVar[str] = "bradley_terry"
    Config: ClassVar[type[Config]] = BradleyTerryConfig
    controls: ClassVar[frozenset[Control]] = frozenset()

    @property
    def reads(self) -> Reads:
        """Nothing: every user gets the same reward."""
        return "nothing"

    def adapt(self, evidence: Persona, state: UserState | None = None) -> UserState:
        """An empty state: this control ignores the user."""
        return UserState(self.name, evidence.user_id, {}, evidence.n_items, next_version(self.name, evidence, state))

    def rewards(self, states: Sequence[UserState], requests: Sequence[RewardRequest]) -> list[RewardResult]:
        """w . f(x, y) in log-odds. Raises `ScoreError` before `fit`, or if w belongs to another encoder."""
        _, values = self.read(requests)
        rows = zip(states, requests, values, strict=True)
        return [self.result(state, request, value) for state, request, value in rows]
