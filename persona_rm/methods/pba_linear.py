"""PBA without a language model: directions times the response's intensities, dimension by dimension.

Under AlignX's construction (paper, 4.2) a pair's direction on a dimension is the sign of the difference of both
responses' intensities; this is the linear reward with that sign. It runs on a CPU and explains itself.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import ClassVar

from pydantic import Field

from persona_rm.config import Config
from persona_rm.errors import ScoreError
from persona_rm.methods.base import Control, Method, Need, Reads
from persona_rm.methods.states import directions_of, directions_state, neutral_payload
from persona_rm.types import MIDDLE, Levels, Persona, RewardRequest, RewardResult, UserState


class PBALinearConfig(Config):
    """`weights` by dimension id (default 1 each); `scale` multiplies the reward; `persona` "none" is the control."""

    weights: dict[str, float] = Field(default_factory=dict)
    scale: float = Field(1.0, gt=0)
    persona: str = Field("own", pattern="^(own|none)$")


class PBALinear(Method):
    """r = scale * sum_d weight_d * direction_d * (level_d(y) - 2), levels by the annotator. State: directions."""

    name: ClassVar[str] = "pba_linear"
    Config: ClassVar[type[Config]] = PBALinearConfig
    needs: ClassVar[frozenset[Need]] = frozenset({"annotator"})
    controls: ClassVar[frozenset[Control]] = frozenset({"flip", "history", "shuffled", "no_user"})

    @property
    def reads(self) -> Reads:
        """The directions, unless the configuration leaves the user out."""
        return "directions" if self.config.persona == "own" else "nothing"

    def prior(self) -> UserState:
        """All directions neutral: every response gets 0."""
        return UserState(self.name, None, neutral_payload(self.space))

    def adapt(self, evidence: Persona, state: UserState | None = None) -> UserState:
        """The user's directions. Raises `DataError` if no inferrer has set them."""
        return directions_state(self.name, evidence, state, self.space, ignore=self.config.persona == "none")

    @cached_property
    def weights(self) -> tuple[float, ...]:
        """Scale times weight of every dimension, in order. Raises `DataError` for an id that the space lacks."""
        weights = [self.config.scale] * len(self.space)
        for id_, weight in self.config.weights.items():
            weights[self.space.index(id_)] *= weight
        return tuple(weights)

    def rewards(self, states: Sequence[UserState], requests: Sequence[RewardRequest]) -> list[RewardResult]:
        """Every distinct (prompt, response) is read once; the parts are the terms of non-neutral dimensions."""
        levels, weights = self._levels(requests), self.weights
        results = []
        for state, request in zip(states, requests, strict=True):
            read = levels[request.prompt_text, request.response]
            parts = {}
            for d, direction in enumerate(directions_of(state, self.space)):
                if direction:
                    # Adding 0.0 turns the -0.0 of a negative direction into 0.0.
                    parts[self.space.ids[d]] = weights[d] * direction * (read[d] - MIDDLE) + 0.0
            results.append(self.result(state, request, sum(parts.values(), 0.0), parts))
        return results

    def _levels(self, requests: Sequence[RewardRequest]) -> dict[tuple[str, str], Levels]:
        """The levels of every distinct (prompt, response)."""
        texts = list(dict.fromkeys((request.prompt_text, request.response) for request in requests))
        reader = self.backends.need_reader(self.name)
        readings = reader.levels([prompt for prompt, _ in texts], [response for _, response in texts])
        if len(readings) != len(texts):
            raise ScoreError(f"the annotator read {len(readings)} of {len(texts)} responses")
        levels = dict(zip(texts, readings, strict=True))
        # NaN is in no set, so this also refuses levels that are not numbers.
        valid = {text for text, row in levels.items() if len(row) == len(self.space) and {1, 2, 3}.issuperset(row)}
        if bad := tuple(i for i, r in enumerate(requests) if (r.prompt_text, r.response) not in valid):
            raise ScoreError(f"the annotator must give {len(self.space)} levels of 1, 2 or 3 per response", bad)
        return levels
