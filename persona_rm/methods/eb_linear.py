"""Empirical Bayes: `map_linear` under a prior covariance that is learned from the population.

    v_u ~ N(0, S),   S = t (U U' + diag(c)),   v_u = argmax sum_i log sigmoid(w . f_i + v . z_i) - v' S^-1 v / 2

What users differ in is learned: U holds the directions along which training users' weights vary together, c what is
left in each column. S is estimated by expectation maximisation with Laplace's approximation (Laird and Ware 1982;
Morris 1983): S = mean over users of (v_u v_u' + C_u), C_u the posterior covariance, then cut to low rank plus
diagonal. The factor t is chosen on training users as new ones; 0 is the pooled reward.
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

SCALES = (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0)
"""Factors t of the learned covariance among which training users choose."""
MOST_ROWS = 64
"""Comparisons of a user that the covariance is learned from: more would cost their cube."""


class EbLinearConfig(PersonalConfig):
    """`directions`: the rank of U. `rounds` of expectation maximisation, from an isotropic prior of variance
    `start`. `scale` is t; None chooses it on training users as new ones."""

    scale: float | None = Field(None, ge=0)
    directions: int = Field(8, ge=0)
    rounds: int = Field(8, ge=1)
    start: float = Field(3.0, gt=0)


class EbLinear(PersonalMethod):
    """The mode of a user's weights under the population's own spread."""

    name: ClassVar[str] = "eb_linear"
    Config: ClassVar[type[Config]] = EbLinearConfig
    personal_arrays: ClassVar[tuple[str, ...]] = ("covariance",)
    covariance: Floats | None = None
    """S, shape (q, q)."""

    def learn(self, users: Sequence[UserRows], episodes: Sequence[Episode]) -> None:
        """Learn S from the training users, and its scale from episodes."""
        size = sum(self.block_sizes)
        shape = np.eye(size) * self.config.start
        few = [one.at(slice(-MOST_ROWS, None)) for one in users]
        for _ in range(self.config.rounds):
            total = np.zeros((size, size))
            for one in few:
                estimate = map_estimate(one.differences, one.margins, shape)
                total += np.outer(estimate.mode, estimate.mode) + shape - estimate.reduction()
            shape = low_rank_and_diagonal(total / len(few), self.config.directions)

        def scaled(factor: float) -> None:
            self.covariance = factor * shape

        self.choose(SCALES if self.config.scale is None else (self.config.scale,), episodes, scaled)

    def user_vector(self, rows: UserRows) -> Floats:
        """v_u, shape (q,)."""
        size = rows.differences.shape[1]
        return map_estimate(
            rows.differences, rows.margins, np.zeros(size) if self.covariance is None else self.covariance
        ).mode


def low_rank_and_diagonal(covariance: Floats, rank: int) -> Floats:
    """The `rank` leading directions of a covariance, and the variance of each column that they leave."""
    values, directions = np.linalg.eigh((covariance + covariance.T) / 2)
    leading = directions[:, ::-1][:, :rank] * np.sqrt(np.maximum(values[::-1][:rank], 0))
    low = leading @ leading.T
    return np.asarray(low + np.diag(np.maximum(np.diag(covariance) - np.diag(low), 1e-9)))
