"""The pooled reward, the same for all users: Bradley-Terry on frozen features. Personal methods build on it.

P(chosen beats rejected) = sigmoid(w . (f(x, y_c) - f(x, y_r))) (Bradley and Terry 1952), w by L2-regularised maximum
likelihood: strictly convex, so Newton's method gives one answer whatever the order of the data.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field

from persona_rm.backends.base import Backends, Vectors
from persona_rm.config import Config
from persona_rm.errors import DataError, ScoreError
from persona_rm.features.feature_set import FeatureSet, Scaling, feature_members
from persona_rm.io.weight_arrays import read_arrays
from persona_rm.methods.base import Method, Need
from persona_rm.methods.pairwise import Floats, Places, TextPairs, check_finite, fit_weights
from persona_rm.methods.penalties import choose_penalties
from persona_rm.methods.text_folds import TextFolds
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comparison, RewardRequest

WEIGHTS = "weights.safetensors"
FOLD_TOLERANCE = 1e-6
FeatureList = Annotated[tuple[dict[str, Any], ...], BeforeValidator(feature_members)]
"""Members of the zoo `feature`, side by side: `[encoder, surface]`."""


class PooledConfig(Config):
    """`features`: members of the zoo `feature`; each is a block with a penalty of its own. `scaling` standardises
    them on the training texts ("none" takes them as they come).

    `l2` is the penalty l2/2 |w|^2 beside the mean loss; None chooses that of each block by cross-validation over
    `folds` groups of texts, and leaves out blocks that do not lower the held-out loss. `steps` bounds Newton's method.
    """

    features: FeatureList = Field(default=("encoder",), validate_default=True)
    scaling: Literal["standard", "none"] = "standard"
    l2: float | None = Field(1e-3, gt=0)
    folds: int = Field(5, ge=2)
    steps: int = Field(100, gt=0)


class PooledMethod(Method):
    """Learns and stores w, and the scaling of the features. A subclass says what a user adds to w . f(x, y)."""

    needs: ClassVar[frozenset[Need]] = frozenset({"encoder", "fit"})
    learned: ClassVar[tuple[str, ...]] = ("weights", "mean", "factor", "widths")
    """The attributes that `fit` sets to arrays, and that are saved."""
    weights: Floats | None = None
    """Shape (width,), in log-odds per standardised feature."""
    mean: Floats | None = None
    factor: Floats | None = None
    """The scaling of the features (`feature_set.Scaling`)."""
    widths: Places | None = None
    """The width of each block of features, shape (blocks,)."""
    penalties: Floats | None = None
    """The penalty of each column, shape (width,); inf in a block that was left out. Known after `fit` alone."""

    @property
    def features(self) -> FeatureSet:
        """The extractors that the configuration names. Raises `RecipeError` if a model that they need is missing."""
        return FeatureSet(self.config.features, self.space, self.backends, self.name)

    def fit(self, comparisons: Sequence[Comparison]) -> None:
        """Learn w. Raises `DataError` without comparisons, `ScoreError` if a feature is not finite."""
        self.fit_pooled(comparisons)

    def fit_pooled(self, comparisons: Sequence[Comparison]) -> tuple[TextPairs, Vectors]:
        """Learn w; returns the comparisons and the standardised features of their texts."""
        if not comparisons:
            raise DataError(f"{self.name} learns from comparisons and was given none")
        pairs = TextPairs.of(comparisons)
        raw, widths = self.features.rows(pairs.texts)
        check_finite(raw, pairs)
        scaling = Scaling.of(raw, widths, self.config.scaling)
        vectors = scaling.apply(raw)
        if self.config.l2 is None:
            folds = TextFolds.of(comparisons, pairs, self.config.folds)
            penalties = np.repeat(choose_penalties(vectors, pairs, widths, folds, self.config.steps), widths)
        else:
            penalties = np.full(vectors.shape[1], self.config.l2)
        self.weights = fit_weights(vectors, pairs, penalties, self.config.steps)
        self.penalties = penalties
        self.mean, self.factor, self.widths = scaling.mean, scaling.factor, np.array(widths)
        return pairs, vectors

    @property
    def fitted_weights(self) -> Floats:
        """w. Raises `ScoreError` before `fit`."""
        if self.weights is None:
            raise ScoreError(f"{self.name} has learned nothing yet: call fit, or load a saved one")
        return self.weights

    def refitted(self, vectors: Vectors, pairs: TextPairs) -> Floats:
        """w on other comparisons, under the penalties of the fit: for cross-validation of what builds on w."""
        penalties = np.ones(vectors.shape[1]) if self.penalties is None else self.penalties
        return fit_weights(vectors, pairs, penalties, self.config.steps, self.weights, FOLD_TOLERANCE)

    def standardised(self, texts: Sequence[tuple[str, str]]) -> Vectors:
        """The standardised features of (prompt, response) texts, shape (n, width); (0, width) for none.

        Raises `ScoreError` before `fit`, or if the features have another width than in the fit.
        """
        if self.weights is None or self.mean is None or self.factor is None:
            raise ScoreError(f"{self.name} has learned nothing yet: call fit, or load a saved one")
        raw, _ = self.features.rows(texts)
        if not len(raw):
            return np.zeros((0, len(self.weights)), np.float32)
        if raw.shape[1] != len(self.weights):
            raise ScoreError(
                f"the features give {raw.shape[1]} numbers, the saved weights are {len(self.weights)}: "
                f"load {self.name} with the encoder and the annotator of its fit, or fit it again"
            )
        return Scaling(self.mean, self.factor).apply(raw)

    def read(self, requests: Sequence[RewardRequest]) -> tuple[Vectors, Sequence[float]]:
        """The standardised features of the responses, and w . f(x, y) in log-odds. Raises as `standardised` does."""
        vectors = self.standardised([(request.prompt_text, request.response) for request in requests])
        # The sum is taken row by row: a matrix product rounds differently for other batch sizes.
        values: npt.NDArray[np.float64] = (vectors * self.fitted_weights).sum(1)
        return vectors, values.tolist()

    @property
    def learned_files(self) -> tuple[str, ...]:
        """The weights, once the method was fitted."""
        return () if self.weights is None else (WEIGHTS,)

    def save(self, folder: Path) -> None:
        """Write config.json, and what was learned if the method was fitted."""
        from safetensors.numpy import save_file

        super().save(folder)
        if self.weights is not None:
            save_file(self.learned_arrays(), folder / WEIGHTS)

    def learned_arrays(self) -> dict[str, Any]:
        """What `fit` learned, by name, as it is saved."""
        return {name: np.ascontiguousarray(getattr(self, name)) for name in self.learned}

    def restore(self, arrays: Mapping[str, Any], path: Path) -> None:
        """The inverse of `learned_arrays`. Raises `DataError` if an array is missing, or lengths do not agree."""
        what = f"the weights of {self.name}"
        for name in self.learned:
            # Every fit learns all of it, so a file that lacks an array is of another method or version.
            if name not in arrays:
                raise DataError(f"not {what} in this version: it lacks {name!r}; fit it again", file=path, key=name)
            setattr(self, name, arrays[name])
        sizes = {len(arrays[name]) for name in ("weights", "mean", "factor")} | {int(arrays["widths"].sum())}
        if len(sizes) > 1:
            problem = f"not {what}: weights, mean, factor and widths are of different lengths: {sorted(sizes)}"
            raise DataError(problem, file=path, key="weights")

    @classmethod
    def load(cls, folder: Path, space: PreferenceSpace, backends: Backends) -> Self:
        """The inverse of `save`."""
        method = super().load(folder, space, backends)
        path = folder / WEIGHTS
        if path.is_file():
            arrays = read_arrays(path, f"the weights of {cls.name}", dict.fromkeys(PooledMethod.learned, 1))
            method.restore(arrays, path)
        return method
