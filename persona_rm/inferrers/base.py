"""The contract of an inferrer: a persona -> a posterior over preference directions, with the items behind it."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from persona_rm.backends.base import Backends
from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.inferrers.evidence import Item, items_of
from persona_rm.space import PreferenceSpace
from persona_rm.types import Directions, Persona

CONFIG = "config.json"
NO_BACKENDS = Backends()


@dataclass(frozen=True, slots=True)
class Posterior:
    """P(negative), P(neutral), P(positive) per dimension, and the directions that the inferrer commits to."""

    probabilities: tuple[tuple[float, float, float], ...]
    directions: Directions
    evidence: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Dimension -> ids of the items that speak for its direction, strongest first; for directions that are not
    neutral, and only where the inferrer can tell."""
    n_items: int = 0
    """Distinct items that were read."""

    @property
    def cold(self) -> bool:
        """True where nothing was read: the prior speaks."""
        return self.n_items == 0

    def intervals(self, mass: float = 0.95) -> tuple[tuple[int, int], ...]:
        """Per dimension the shortest range of directions that holds `mass`; of two as short, the more probable."""
        return tuple(_shortest(p, mass) for p in self.probabilities)


class Inferrer(ABC):
    """What does the evidence say this person prefers?"""

    name: ClassVar[str]
    Config: ClassVar[type[Config]] = Config
    by_prompt: ClassVar[bool] = False
    """True where directions depend on the prompt that the person is about to ask."""

    def __init__(self, config: Any, space: PreferenceSpace, backends: Backends = NO_BACKENDS) -> None:
        self.config, self.space, self.backends = config, space, backends

    @property
    def learns(self) -> bool:
        """True where `fit` learns something."""
        return type(self).fit is not Inferrer.fit

    def fit(self, personas: Sequence[Persona]) -> None:  # noqa: B027 - optional: the paper's vote learns nothing
        """Learn the population part from many people's evidence. Their `directions`, where given, are labels."""

    def infer(self, persona: Persona, prompt: str = "") -> Posterior:
        """The posterior from the persona's items. Raises `DataError` naming user and item where one has no directions.

        `prompt` is what the person is about to ask; only inferrers that are `by_prompt` look at it.
        """
        return self.read(self.items(persona), persona, prompt)

    def infer_many(self, personas: Iterable[Persona]) -> list[Posterior]:
        """`infer` for each."""
        return [self.infer(persona) for persona in personas]

    def items(self, persona: Persona) -> list[Item]:
        """The persona's evidence as votes. An inferrer that annotates items itself overrides this."""
        return items_of(persona, len(self.space))

    @abstractmethod
    def read(self, items: Sequence[Item], persona: Persona, prompt: str) -> Posterior:
        """The posterior from evidence. Without any it is the prior, and `cold`."""

    def save(self, folder: Path) -> None:
        """Write config.json (and, in inferrers that learn, safetensors) into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        about = {"inferrer": self.name, "space": self.space.name, "config": self.config.model_dump(mode="json")}
        (folder / CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, space: PreferenceSpace, backends: Backends = NO_BACKENDS) -> Self:
        """The inverse of `save`. Raises `DataError` for another inferrer's folder, or another space."""
        path = folder / CONFIG
        if not path.is_file():
            raise DataError(f"no saved inferrer {cls.name} here", file=path)
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            for key, own in (("inferrer", cls.name), ("space", space.name)):
                if saved[key] != own:
                    raise DataError(f"this was saved for {saved[key]!r}, not {own!r}", file=path, key=key)
            return cls(cls.Config(**saved["config"]), space, backends)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"not the config of a saved inferrer {cls.name}: {error}", file=path) from error


def _shortest(p: tuple[float, float, float], mass: float) -> tuple[int, int]:
    ranges = [(low, high) for low in (-1, 0, 1) for high in range(low, 2)]
    held = {(low, high): sum(p[low + 1 : high + 2]) for low, high in ranges}
    enough = [one for one in ranges if held[one] >= mass - 1e-12] or [(-1, 1)]
    return min(enough, key=lambda one: (one[1] - one[0], -held[one]))
