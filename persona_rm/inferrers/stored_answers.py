"""Answers to "which of these two do you prefer, and how clearly?", as evidence about directions.

The user's utility of a text is the sum of direction x level (`world.md`, AlignX's levels), so a pair of texts that
differ by x_d levels on dimension d has the difference u = sum_d t_d x_d. The user perceives u + e, e logistic with
scale `temperature`, and says how clear it is by thresholds: an ordered logit (McCullagh 1980; the five grades of
pairwise feedback that RLHF data sets collect). An answer couples all dimensions that the pair differs in, so the
posterior is no product any more; it is kept a product within each latent class by assumed-density filtering (Opper
1998): u given one dimension is taken as normal, with the mean and variance of the others. Where a pair differs in one
dimension only there are no others, and all is exact.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from persona_rm.errors import DataError
from persona_rm.inferrers.model import Floats
from persona_rm.maths import sigmoids

Grade = Literal[-2, -1, 0, 1, 2]
GRADES: dict[int, str] = {
    2: "the first, clearly", 1: "the first, a bit", 0: "about the same", -1: "the second, a bit",
    -2: "the second, clearly",
}  # fmt: skip
SIGNS = np.array([-1.0, 0.0, 1.0])


@dataclass(frozen=True, slots=True)
class Perception:
    """`temperature`: how noisy answers are; `bit`, `clear`: the difference in levels from which they are given."""

    temperature: float = 0.8
    bit: float = 0.75
    clear: float = 2.5

    @property
    def cuts(self) -> Floats:
        """The thresholds between the five grades, from "the second, clearly" up."""
        return np.array([-self.clear, -self.bit, self.bit, self.clear])

    def grades(self, mean: Floats, variance: Floats) -> Floats:
        """P(grade -2 .. 2) (..., 5) where the difference is normal: the logistic-normal integral by MacKay's (1992)
        approximation."""
        scale = np.sqrt(self.temperature**2 + np.pi * variance / 8)[..., None]
        # Beyond 30 the sigmoid is 0 or 1 to 13 digits, so nothing is lost by the cut. No grade gets probability 0
        # below, or a surprising answer would make `hear` divide by zero.
        below = sigmoids(np.clip((self.cuts - mean[..., None]) / scale, -30, 30))
        ends = np.zeros((*mean.shape, 1)), np.ones((*mean.shape, 1))
        return np.asarray(np.maximum(np.diff(np.concatenate([ends[0], below, ends[1]], -1), axis=-1), 1e-12))


@dataclass(frozen=True)
class Belief:
    """P(class) (K,) and P(direction | class) (K, D, 3) of one user."""

    weights: Floats
    directions: Floats

    @property
    def marginals(self) -> Floats:
        """P(direction), (D, 3)."""
        return np.asarray(np.tensordot(self.weights, self.directions, 1))

    def moments(self) -> tuple[Floats, Floats]:
        """Mean and variance of each direction by class, (K, D)."""
        mean = self.directions @ SIGNS
        return mean, self.directions @ SIGNS**2 - mean**2


def is_grade(value: object) -> bool:
    """One of `GRADES`, and an integer: 1.0 and true only equal one."""
    return type(value) is int and value in GRADES


def hear(belief: Belief, difference: npt.NDArray[np.int64], grade: int, how: Perception) -> Belief:
    """The belief after an answer; `difference` (D,): levels of the first text minus levels of the second.

    Raises `DataError` for what is no grade.
    """
    if not is_grade(grade):
        raise DataError(f"an answer is an integer, one of {sorted(GRADES)}, found {grade!r}")
    touched = np.flatnonzero(difference)
    x = difference[touched].astype(float)
    mean, variance = (each[:, touched] for each in belief.moments())
    # Shapes: total, spread (K,) of the whole difference; rest, noise (K, touched) without one dimension; if_so (K,
    # touched, 3) with that dimension at each direction.
    total, spread = mean @ x, variance @ x**2
    # Rounding can make the difference of two variances slightly negative.
    rest, noise = total[:, None] - mean * x, np.maximum(spread[:, None] - variance * x**2, 0)
    if_so = rest[..., None] + x[:, None] * SIGNS
    likelihood = how.grades(if_so, np.broadcast_to(noise[..., None], if_so.shape))[..., grade + 2]
    directions = belief.directions.copy()
    joint = directions[:, touched] * likelihood
    sums = joint.sum(-1)
    directions[:, touched] = joint / sums[..., None]
    # P(answer | class). With one dimension the sum over its directions is exact; with more, the whole difference is
    # taken as normal.
    told = sums[:, 0] if len(touched) == 1 else how.grades(total, spread)[:, grade + 2]
    weights = belief.weights * told
    return Belief(weights / weights.sum(), directions)
