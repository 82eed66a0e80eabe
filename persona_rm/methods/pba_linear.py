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
from persona_rm.methods.base import Method
from persona_rm.methods.states import directions_of, directions_state, neutral_payload, status_of
from persona_rm.types import Levels, Persona, Score, ScoreRequest, UserState

MIDDLE = 2
"""The level "cannot reflect"."""


class PBALinearConfig(Config):
    """`weights` by dimension id (default 1 each); `scale` multiplies the reward; `persona` "none" is the control."""

    weights: dict[str, float] = Field(default_factory=dict)
    scale: float = Field(1.0, gt=0)
    persona: str = Field("own", pattern="^(own|none)$")


class PBALinear(Method):
    """r = scale * sum_d weight_d * direction_d * (level_d(y) - 2), levels by the annotator. State: directions."""

    name: ClassVar[str] = "pba_linear"
    Config: ClassVar[type[Config]] = PBALinearConfig
    needs = "annotator"

    def prior(self) -> UserState:
        """All directions neutral: every response gets 0."""
        return UserState(self.name, None, neutral_payload(self.space))

    def adapt(self, persona: Persona, state: UserState | None = None) -> UserState:
        """The persona's directions. Raises `DataError` where no inferrer has set them."""
        return directions_state(self.name, persona, state, self.space, nobody=self.config.persona == "none")

    @cached_property
    def weights(self) -> tuple[float, ...]:
        """Scale times weight of every dimension, in order. Raises `DataError` for an id that the space lacks."""
        found = [self.config.scale] * len(self.space)
        for id_, weight in self.config.weights.items():
            found[self.space.index(id_)] *= weight
        return tuple(found)

    def rewards(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """One reading of every distinct (prompt, response), then the sum; `Score.dims` holds its non-neutral terms."""
        weights, levels = self.weights, self._levels(requests)
        return [self._score(r, [levels[r.prompt, text] for text in r.responses], weights) for r in requests]

    def _score(self, request: ScoreRequest, levels: Sequence[Levels], weights: Sequence[float]) -> Score:
        directions = directions_of(request.state, self.space)
        terms = {
            self.space.ids[d]: tuple(weights[d] * direction * (row[d] - MIDDLE) for row in levels)
            for d, direction in enumerate(directions)
            if direction
        }
        rewards = tuple(sum((term[i] for term in terms.values()), 0.0) for i in range(len(levels)))
        return Score(rewards, status_of(request.state), dims=terms)

    def _levels(self, requests: Sequence[ScoreRequest]) -> dict[tuple[str, str], Levels]:
        asked = list(dict.fromkeys((request.prompt, text) for request in requests for text in request.responses))
        reader = self.backends.need_reader(self.name)
        found = reader.levels([prompt for prompt, _ in asked], [text for _, text in asked]) if asked else []
        if len(found) != len(asked):
            raise ScoreError(f"the annotator read {len(found)} of {len(asked)} responses")
        wrong = {
            pair for pair, row in zip(asked, found, strict=True) if len(row) != len(self.space) or not _valid(row)
        }
        if wrong:
            rows = tuple(i for i, r in enumerate(requests) if any((r.prompt, text) in wrong for text in r.responses))
            raise ScoreError(f"the annotator must give {len(self.space)} levels of 1, 2 or 3 per response", rows)
        return dict(zip(asked, found, strict=True))


def _valid(levels: Levels) -> bool:
    return all(level in (1, 2, 3) for level in levels)
