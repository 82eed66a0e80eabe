"""Bradley-Terry on frozen embeddings: one reward for all users, the control that every personal method must beat.

P(chosen beats rejected) = sigmoid(w . (e(x, y_c) - e(x, y_r))) (Bradley and Terry 1952), w by L2-regularised maximum
likelihood: strictly convex, so Newton's method gives one answer whatever the order of the data.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from persona_rm.backends.base import Backends, Vectors
from persona_rm.config import Config
from persona_rm.errors import DataError, ScoreError
from persona_rm.maths import sigmoids
from persona_rm.methods.base import Control, Method, Need, Reads
from persona_rm.methods.states import next_version
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comparison, Persona, RewardRequest, RewardResult, UserState

Floats = npt.NDArray[np.float64]
WEIGHTS = "weights.safetensors"


class BradleyTerryConfig(Config):
    """`text`: what is embedded. "both" puts the response first: encoders cut long texts at the end.

    `l2` is the penalty l2/2 |w|^2 beside the mean loss; `steps` bounds Newton's method.
    """

    text: Literal["both", "response"] = "both"
    l2: float = Field(1e-3, gt=0)
    steps: int = Field(100, gt=0)


class BradleyTerry(Method):
    """r(x, y) = w . e(x, y), the same for every user. State: nothing."""

    name: ClassVar[str] = "bradley_terry"
    Config: ClassVar[type[Config]] = BradleyTerryConfig
    needs: ClassVar[frozenset[Need]] = frozenset({"encoder", "fit"})
    controls: ClassVar[frozenset[Control]] = frozenset()
    weights: Floats | None = None

    @property
    def reads(self) -> Reads:
        """Nothing: every user gets the same reward."""
        return "nothing"

    def fit(self, comparisons: Sequence[Comparison]) -> None:
        """Learn w. Raises `DataError` without comparisons, `ScoreError` if an embedding is not finite."""
        if not comparisons:
            raise DataError(f"{self.name} learns from comparisons and was given none")
        chosen = self._encode([(c.prompt, c.chosen) for c in comparisons])
        rejected = self._encode([(c.prompt, c.rejected) for c in comparisons])
        # In float64: the tolerance of the fit is below what float32 can resolve.
        differences = chosen.astype(np.float64) - rejected
        if bad := tuple(np.flatnonzero(~np.isfinite(differences).all(1)).tolist()):
            raise ScoreError("the encoder gave a number that is not finite (rows are comparisons)", bad, "not_finite")
        self.weights = newton(differences, self.config.l2, self.config.steps)

    def adapt(self, evidence: Persona, state: UserState | None = None) -> UserState:
        """An empty state: this control ignores the user."""
        return UserState(self.name, evidence.user_id, {}, evidence.n_items, next_version(self.name, evidence, state))

    def rewards(self, states: Sequence[UserState], requests: Sequence[RewardRequest]) -> list[RewardResult]:
        """w . e(x, y) in log-odds. Raises `ScoreError` before `fit`, or if w belongs to another encoder."""
        if self.weights is None:
            raise ScoreError(f"{self.name} has learned nothing yet: call fit, or load a saved one")
        vectors = self._encode([(request.prompt, request.response) for request in requests])
        if len(vectors) and vectors.shape[1] != len(self.weights):
            raise ScoreError(
                f"the encoder gives {vectors.shape[1]} numbers, the saved weights are {len(self.weights)}"
            )
        # The sum is taken row by row: a matrix product rounds differently for other batch sizes.
        values = (vectors * self.weights).sum(1) if len(vectors) else ()
        return [
            self.result(state, request, float(value))
            for state, request, value in zip(states, requests, values, strict=True)
        ]

    def save(self, folder: Path) -> None:
        """Write config.json, and the weights if the method was fitted."""
        from safetensors.numpy import save_file

        super().save(folder)
        if self.weights is not None:
            save_file({"weights": self.weights}, folder / WEIGHTS)

    @classmethod
    def load(cls, folder: Path, space: PreferenceSpace, backends: Backends) -> Self:
        """The inverse of `save`."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        method = super().load(folder, space, backends)
        if (path := folder / WEIGHTS).is_file():
            try:
                method.weights = load_file(path)["weights"]
            except (SafetensorError, KeyError) as error:
                raise DataError(f"not the weights of {cls.name}: {error}", file=path, key="weights") from error
        return method

    def _encode(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        joined = [text if self.config.text == "response" else f"{text}\n\n{prompt}" for prompt, text in pairs]
        if not joined:
            return np.zeros((0, 0), np.float32)
        # A text can occur in many pairs and is embedded once.
        unique = list(dict.fromkeys(joined))
        place = {text: i for i, text in enumerate(unique)}
        return self.backends.need_encoder(self.name).encode(unique)[[place[text] for text in joined]]


def newton(differences: Floats, l2: float, steps: int, tolerance: float = 1e-9) -> Floats:
    """argmin_w mean log(1 + exp(-d . w)) + l2/2 |w|^2 over the rows d, by Newton's method with step halving.

    Raises `ScoreError` if `steps` do not bring the gradient below `tolerance`.
    """
    n, size = differences.shape
    weights = np.zeros(size)
    for _ in range(steps):
        # P(the rejected response wins) per row: the gradient weighs each row by it, the Hessian by p (1 - p).
        lost = sigmoids(-differences @ weights)
        gradient = l2 * weights - differences.T @ lost / n
        if np.abs(gradient).max() <= tolerance:
            return weights
        # The penalty adds l2 to the diagonal, so the system can be solved even if differences do not span all
        # dimensions.
        hessian = (differences.T * (lost * (1 - lost) / n)) @ differences + l2 * np.eye(size)
        weights = _descend(differences, weights, np.linalg.solve(hessian, gradient), l2)
    raise ScoreError(f"the fit did not converge in {steps} steps: raise steps or l2 (now {l2})")


def _descend(differences: Floats, weights: Floats, step: Floats, l2: float) -> Floats:
    """The longest of the halved steps that does not raise the loss."""
    now = _loss(differences, weights, l2)
    # After 60 halvings a step is below the precision of a float64, and the weights stay as they are.
    tried = (np.asarray(weights - step / 2**halvings) for halvings in range(60))
    return next((one for one in tried if _loss(differences, one, l2) <= now), weights)


def _loss(differences: Floats, weights: Floats, l2: float) -> float:
    # log(1 + exp(-d . w)) without overflow for large margins.
    return float(np.logaddexp(0, -differences @ weights).mean() + l2 / 2 * weights @ weights)
