"""The pooled reward, the same for all users: Bradley-Terry on frozen features. Personal methods build on it.

P(chosen beats rejected) = sigmoid(w . (f(x, y_c) - f(x, y_r))) (Bradley and Terry 1952), w by L2-regularised maximum
likelihood: strictly convex, so Newton's method gives one answer whatever the order of the data.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from persona_rm.backends.base import Backends, Vectors
from persona_rm.config import Config
from persona_rm.errors import DataError, ScoreError
from persona_rm.io.weight_arrays import read_arrays
from persona_rm.methods.base import Method, Need
from persona_rm.methods.pairwise import TextPairs, check_finite, fit_weights
from persona_rm.methods.text_features import Features, Floats, TextFeatures, TextPart, surface_scaling
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comparison, RewardRequest

WEIGHTS = "weights.safetensors"


class PooledConfig(Config):
    """`text`: what is embedded; "both" puts the response first, because encoders cut long texts at the end.

    `features`: the encoding alone, or eight surface features beside it (`methods.text_features`). `l2` is the penalty
    l2/2 |w|^2 beside the mean loss; `steps` bounds Newton's method.
    """

    text: TextPart = "both"
    features: Features = "encoder"
    l2: float = Field(1e-3, gt=0)
    steps: int = Field(100, gt=0)


class PooledMethod(Method):
    """Learns and stores w, and what the features need. A subclass says what a user adds to w . f(x, y)."""

    needs: ClassVar[frozenset[Need]] = frozenset({"encoder", "fit"})
    learned: ClassVar[tuple[str, ...]] = ("weights", "scaling")
    """The attributes that `fit` sets to arrays, and that are saved."""
    weights: Floats | None = None
    scaling: Floats | None = None

    @property
    def features(self) -> TextFeatures:
        """The features of a response, with the scaling that was learned."""
        return TextFeatures(self.backends.need_encoder(self.name), self.config.text, self.scaling)

    def fit(self, comparisons: Sequence[Comparison]) -> None:
        """Learn w. Raises `DataError` without comparisons, `ScoreError` if an embedding is not finite."""
        self.fit_pooled(comparisons)

    def fit_pooled(self, comparisons: Sequence[Comparison]) -> tuple[TextPairs, Vectors]:
        """Learn w; returns the comparisons and the features of their texts."""
        if not comparisons:
            raise DataError(f"{self.name} learns from comparisons and was given none")
        pairs = TextPairs.of(comparisons)
        scaling = None
        if self.config.features == "encoder+surface":
            scaling = surface_scaling([response for _, response in pairs.texts])
        vectors = TextFeatures(self.backends.need_encoder(self.name), self.config.text, scaling).rows(pairs.texts)
        check_finite(vectors, pairs)
        weights = fit_weights(vectors, pairs, self.config.l2, self.config.steps)
        self.weights, self.scaling = weights, scaling
        return pairs, vectors

    def read(self, requests: Sequence[RewardRequest]) -> tuple[Vectors, Sequence[float]]:
        """The features of the responses, and w . f(x, y) in log-odds.

        Raises `ScoreError` before `fit`, or if w belongs to another encoder.
        """
        if self.weights is None:
            raise ScoreError(f"{self.name} has learned nothing yet: call fit, or load a saved one")
        vectors = self.features.rows([(request.prompt_text, request.response) for request in requests])
        if len(vectors) and vectors.shape[1] != len(self.weights):
            raise ScoreError(
                f"the encoder gives {vectors.shape[1]} numbers, the saved weights are {len(self.weights)}"
            )
        # The sum is taken row by row: a matrix product rounds differently for other batch sizes.
        values: npt.NDArray[np.float64] | tuple[()] = (vectors * self.weights).sum(1) if len(vectors) else ()
        return vectors, [float(value) for value in values]

    @property
    def learned_files(self) -> tuple[str, ...]:
        """The weights, once the method was fitted."""
        return () if self.weights is None else (WEIGHTS,)

    def save(self, folder: Path) -> None:
        """Write config.json, and what was learned if the method was fitted."""
        from safetensors.numpy import save_file

        super().save(folder)
        arrays = {name: np.asarray(getattr(self, name)) for name in self.learned if getattr(self, name) is not None}
        if self.weights is not None:
            save_file(arrays, folder / WEIGHTS)

    @classmethod
    def load(cls, folder: Path, space: PreferenceSpace, backends: Backends) -> Self:
        """The inverse of `save`."""
        method = super().load(folder, space, backends)
        path = folder / WEIGHTS
        if path.is_file():
            arrays = read_arrays(path, f"the weights of {cls.name}", {"weights": 1})
            method.weights = arrays["weights"]
            for name in cls.learned:
                if name in arrays:
                    setattr(method, name, arrays[name])
        return method
