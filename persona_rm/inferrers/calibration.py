"""Calibrated probabilities: of all directions given probability p, a share p should be right.

Fitted on users that the model did not learn from, with scikit-learn: `temperature` (one number for all: p ** (1/T),
normalised; Guo et al. 2017) or `isotonic` (per class the best non-decreasing curve, normalised; Zadrozny and Elkan
2002).
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from persona_rm.extras import extra_needed
from persona_rm.inferrers.model import Floats

CalibrationKind = Literal["none", "temperature", "isotonic"]
TINY = 1e-6


@dataclass(frozen=True)
class Calibration:
    """`temperature` T; or for each class the knots of its curve: `knots[c]` (2, m), raw above calibrated."""

    temperature: float = 1.0
    knots: tuple[Floats, ...] = ()

    def __call__(self, probabilities: Floats) -> Floats:
        """Calibrated P(direction), same shape (..., 3)."""
        if self.knots:
            adjusted = np.stack([np.interp(probabilities[..., c], *self.knots[c]) for c in range(3)], -1)
        elif self.temperature == 1.0:
            return probabilities
        else:
            adjusted = np.maximum(probabilities, 1e-300) ** (1 / self.temperature)
        return np.asarray(adjusted / adjusted.sum(-1, keepdims=True))


def fit_calibration(kind: CalibrationKind, probabilities: Floats, labels: npt.NDArray[np.int64]) -> Calibration:
    """From P(direction) (n, D, 3) and the true directions (n, D) of users who were held out."""
    # Users and dimensions are pooled, one calibration for all. Directions -1, 0, 1 become the classes 0, 1, 2.
    flat, classes = np.maximum(probabilities.reshape(-1, 3), TINY), labels.reshape(-1) + 1
    if kind == "temperature":
        return Calibration(temperature=_temperature(flat, classes))
    if kind == "isotonic":
        return Calibration(knots=tuple(_curve(flat[:, c], classes == c) for c in range(3)))
    return Calibration()


def _temperature(probabilities: Floats, classes: npt.NDArray[np.int64]) -> float:
    with extra_needed("calibration"):
        from scipy.optimize import minimize_scalar
        from sklearn.metrics import log_loss

    def loss(log_temperature: float) -> float:
        tempered = Calibration(temperature=float(np.exp(log_temperature)))(probabilities)
        # The labels are listed, because few held-out users may leave a class empty.
        return float(log_loss(classes, tempered, labels=[0, 1, 2]))

    # The search runs over log T, so T lies between 0.14 and 7.4.
    return float(np.exp(minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded").x))


def _curve(scores: Floats, right: npt.NDArray[np.bool_]) -> Floats:
    with extra_needed("calibration"):
        from sklearn.isotonic import IsotonicRegression

    # Never 0: if the curves of all three classes gave 0, the row could not be normalised.
    fitted = IsotonicRegression(y_min=TINY, y_max=1 - TINY, out_of_bounds="clip").fit(scores, right)
    return np.stack([fitted.X_thresholds_, fitted.y_thresholds_]).astype(np.float64)


def expected_calibration_error(probabilities: Floats, labels: npt.NDArray[np.int64], bins: int = 15) -> float:
    """Classwise ECE: over the three classes and all dimensions, |mean probability - share that is right| per bin of
    equal width, weighted by how many probabilities fall in it."""
    return float(sum(abs(p - y) * n for p, y, n in reliability(probabilities, labels, bins)) / probabilities.size)


def reliability(
    probabilities: Floats, labels: npt.NDArray[np.int64], bins: int = 15
) -> list[tuple[float, float, int]]:
    """(mean probability, share right, how many) of each bin that is not empty, classes pooled, by probability."""
    scores = probabilities.reshape(-1)
    right = (labels[..., None] == np.array([-1, 0, 1])).reshape(-1)
    # A probability of exactly 1 belongs to the last bin.
    index = np.minimum((scores * bins).astype(np.int64), bins - 1)
    n, p, y = (np.bincount(index, w, minlength=bins) for w in (np.ones_like(scores), scores, right.astype(float)))
    return [(float(p[b] / n[b]), float(y[b] / n[b]), int(n[b])) for b in range(bins) if n[b]]
