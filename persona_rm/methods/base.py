"""The contract of a reward method (house rules: one method, one file, one class).

fit learns the population part; adapt turns one person's evidence into a state; score gives that person's rewards.
A method never owns a model: it is handed `Backends`. A failed score raises `ScoreError`; it is never a number.
"""

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from persona_rm.backends.base import Backends
from persona_rm.config import Config
from persona_rm.errors import DataError, ScoreError
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comparison, Persona, Score, ScoreRequest, UserState


class Method(ABC):
    """One personalised (or, as a control, impersonal) reward."""

    name: ClassVar[str]
    Config: ClassVar[type[Config]] = Config
    needs: ClassVar[Literal["nothing", "policy", "trained policy", "annotator", "fitting"]] = "nothing"
    """What it takes to score: any policy; one that alignment trained, beside its reference; an annotator; `fit`."""

    def __init__(self, config: Any, space: PreferenceSpace, backends: Backends) -> None:
        self.config, self.space, self.backends = config, space, backends

    def fit(self, comparisons: Sequence[Comparison]) -> None:  # noqa: B027 - optional: a method on a given policy needs none
        """Learn the population part. The default learns nothing."""

    def prior(self) -> UserState:
        """The state of a person nobody has met: always defined."""
        return UserState(self.name, None)

    @abstractmethod
    def adapt(self, persona: Persona, state: UserState | None = None) -> UserState:
        """The state of this person from their evidence; deterministic; never changes what `fit` learned."""

    @abstractmethod
    def rewards(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """What `score` checks and returns: one `Score` per request, batched."""

    def score(self, requests: Sequence[ScoreRequest]) -> list[Score]:
        """One `Score` per request, same order, one finite reward per response, or `ScoreError` naming the requests."""
        if not requests:
            return []
        if foreign := tuple(i for i, r in enumerate(requests) if r.state.method != self.name):
            raise ScoreError(f"a state of {requests[foreign[0]].state.method!r} was given to {self.name!r}", foreign)
        scores = self.rewards(requests)
        if [len(s.rewards) for s in scores] != [len(r.responses) for r in requests]:
            raise ScoreError(
                f"{self.name} returned {len(scores)} scores of the wrong shape for {len(requests)} requests"
            )
        bad = tuple(i for i, s in enumerate(scores) if not all(map(math.isfinite, s.rewards)))
        if bad:
            raise ScoreError(f"{self.name} gave a reward that is not finite", bad, "not_finite")
        return scores

    def compare(self, requests: Sequence[ScoreRequest]) -> list[list[list[float]]]:
        """P(response i beats response j) per request: a sigmoid of the reward difference, unless overridden."""
        return [[[_sigmoid(a - b) for b in s.rewards] for a in s.rewards] for s in self.score(requests)]

    def save(self, folder: Path) -> None:
        """Write config.json (and, in methods that learn, safetensors) into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"method": self.name, "config": self.config.model_dump()}, indent=2)
        (folder / "config.json").write_text(text + "\n")

    @classmethod
    def load(cls, folder: Path, space: PreferenceSpace, backends: Backends) -> Self:
        """The inverse of `save`."""
        path = folder / "config.json"
        if not path.is_file():
            raise DataError(f"no saved {cls.name} here", file=path)
        saved = json.loads(path.read_text())
        if saved.get("method") != cls.name:
            raise DataError(f"this was saved by {saved.get('method')!r}, not {cls.name!r}", file=path, key="method")
        return cls(cls.Config(**saved["config"]), space, backends)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
