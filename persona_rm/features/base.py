"""The contract of a feature extractor: one kind of features, one file, one class.

An extractor turns (prompt, response) into a row of numbers. It learns nothing and knows no user: rows depend on the
two texts and on the extractor's settings alone, so they are cached by content and shared by methods. Standardising
belongs to the method that fits on the rows (`feature_set.Scaling`), because it needs training texts.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from persona_rm.backends.base import Backends, Vectors
from persona_rm.config import Config
from persona_rm.space import PreferenceSpace

FeatureNeed = Literal["encoder", "annotator"]


class FeatureExtractor(ABC):
    """(prompt, response) -> a row of `width` numbers, float32."""

    name: ClassVar[str]
    Config: ClassVar[type[Config]] = Config
    needs: ClassVar[frozenset[FeatureNeed]] = frozenset()
    """The models that `extract` asks its `Backends` for."""

    def __init__(self, config: Any, space: PreferenceSpace, backends: Backends) -> None:
        self.config, self.space, self.backends = config, space, backends

    @property
    def names(self) -> tuple[str, ...]:
        """One name per column. Empty if a column means nothing by itself, as in an encoding."""
        return ()

    @property
    def signature(self) -> str | None:
        """Everything besides the two texts that a row depends on: rows on disk are kept apart by it.

        None if that cannot be said (an encoder that does not name itself): such rows are never kept on disk.
        """
        return f"{self.name}-{self.config.model_dump_json()}"

    @abstractmethod
    def extract(self, prompts: Sequence[str], responses: Sequence[str]) -> Vectors:
        """Rows of shape (n, width), float32, in the order of the texts; (0, 0) for no texts.

        An empty response gets a row too. Raises `RecipeError` if a model is missing.
        """
