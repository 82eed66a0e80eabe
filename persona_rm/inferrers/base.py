"""The contract of an inferrer: a persona -> a posterior over preference directions."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

from persona_rm.config import Config
from persona_rm.space import PreferenceSpace
from persona_rm.types import Directions, Persona


@dataclass(frozen=True, slots=True)
class Posterior:
    """P(negative), P(neutral), P(positive) per dimension, and the directions that the inferrer commits to."""

    probabilities: tuple[tuple[float, float, float], ...]
    directions: Directions


class Inferrer(ABC):
    """What does the evidence say this person prefers?"""

    name: ClassVar[str]
    Config: ClassVar[type[Config]] = Config

    def __init__(self, config: Any, space: PreferenceSpace) -> None:
        self.config, self.space = config, space

    @abstractmethod
    def infer(self, persona: Persona) -> Posterior:
        """Read the `directions` of the persona's items. Raises `DataError` where an item carries none."""
