"""The contract of an annotator: texts -> intensity 1..3 per dimension, or an error for that row."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from persona_rm.backends.base import Backends
from persona_rm.config import Config
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment, Levels


class Annotator(ABC):
    """Reads the intensity of each comment on each dimension (paper, section 4.1 (1); L = 3)."""

    name: ClassVar[str]
    Config: ClassVar[type[Config]] = Config

    def __init__(self, config: Any, space: PreferenceSpace, backends: Backends) -> None:
        self.config, self.space, self.backends = config, space, backends

    @abstractmethod
    def annotate(self, prompts: Sequence[str], comments: Sequence[Comment]) -> list[Levels]:
        """One tuple of `len(space)` levels per comment, same order. Raises `DataError` naming the comment."""

    def levels(self, prompts: Sequence[str], texts: Sequence[str]) -> list[Levels]:
        """`annotate` for bare texts: the `LevelReader` that methods see."""
        return self.annotate(prompts, [Comment(id=str(i), text=text) for i, text in enumerate(texts)])
