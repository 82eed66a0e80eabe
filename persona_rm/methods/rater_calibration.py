"""Rater calibration (PEBS, ICML 2026 workshop): every user applies the population's scale in an own way.

    r(u, x, y) = a_u + b_u r(x, y),     b_u = B + s^2 / (s^2 + e_u^2) (b^_u - B)

r is the pooled reward, b^_u the user's own slope with sampling variance e_u^2, B and s^2 the mean and the variance of
slopes between users: shrinkage of Morris and James-Stein (Morris 1983). As long as b_u is positive no order changes.
What changes is the size of a user's rewards: how sure the user is, for calibration, mixing, ties and PPO.

Differences, and why: PEBS regresses ratings and we have comparisons, so b_u is the mode of a logistic regression of
the user's choices on the pooled margins under the prior N(B, s^2); that is the same shrinkage with the curvature of
the likelihood as 1 / e_u^2. B and s^2 come from expectation maximisation over the training users with pooled rewards
of unseen texts, because margins of the texts of the fit are too large. The offset cancels in comparisons and cannot be
learned from them: a_u = 0, and the scale turns around the mean text, whose pooled reward is 0. A user who chooses
against the population may get a negative b_u, and then the order does turn.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from persona_rm.config import Config
from persona_rm.methods.episodes import Episode, UserRows
from persona_rm.methods.gaussian_map import map_estimate
from persona_rm.methods.pairwise import Floats
from persona_rm.methods.personal import PersonalConfig, PersonalMethod

ROUNDS = 50
SMALLEST = 1e-6


class RaterCalibrationConfig(PersonalConfig):
    """`variance` is s^2; None learns it from the training users."""

    variance: float | None = Field(None, ge=0)


class RaterCalibration(PersonalMethod):
    """A scale per user, shrunk to the population's."""

    name: ClassVar[str] = "rater_calibration"
    Config: ClassVar[type[Config]] = RaterCalibrationConfig
    personal_arrays: ClassVar[tuple[str, ...]] = ("slopes",)
    slopes: Floats | None = None
    """B and s^2, shape (2,)."""

    @property
    def vector_size(self) -> int:
        """b_u - 1 behind zeros: as wide as z, so that a state of another fit is refused."""
        return super().vector_size + 1

    def learn(self, users: Sequence[UserRows], episodes: Sequence[Episode]) -> None:
        """Learn B and s^2 from held-out margins of each training user; without episodes all slopes are 1."""
        margins: dict[int, list[Floats]] = {}
        for one in episodes:
            margins.setdefault(one.user, []).append(one.held.margins)
        mean, variance = 1.0, 1.0 if self.config.variance is None else self.config.variance
        every = [np.concatenate(margins[user]) for user in sorted(margins)]
        for _ in range(ROUNDS if every else 0):
            modes, errors = zip(*(slope(one, mean, variance) for one in every), strict=True)
            mean = float(np.mean(modes))
            if self.config.variance is None:
                variance = max(SMALLEST, float(np.mean((np.array(modes) - mean) ** 2 + np.array(errors))))
        if not every and self.config.variance is None:
            variance = 0.0
        self.slopes = np.array([mean, variance])

    def user_vector(self, rows: UserRows) -> Floats:
        """b_u - 1 behind zeros, shape (q + 1,)."""
        mean, variance = (1.0, 0.0) if self.slopes is None else self.slopes.tolist()
        vector = np.zeros(rows.differences.shape[1] + 1)
        vector[-1] = slope(rows.margins, mean, variance)[0] - 1.0
        return vector

    def added(self, vector: Floats, features: Floats, pooled: Floats) -> Floats:
        """(b_u - 1) pooled, shape (n,)."""
        return np.asarray(vector[-1] * pooled)


def slope(margins: Floats, mean: float, variance: float) -> tuple[float, float]:
    """The mode and the posterior variance of b under N(mean, variance), from choices with these pooled margins."""
    estimate = map_estimate(margins[:, None], mean * margins, np.array([variance]))
    return mean + float(estimate.mode[0]), variance - float(estimate.reduction()[0, 0])
