"""The most probable linear reward of a user, with the pooled reward as its prior mean.

    v_u = argmax sum_i log sigmoid(w . f_i + v . z_i) - sum_b |v_b|^2 / (2 s_b),   r(u, x, y) = w . f + v_u . z

over the user's comparisons i: Bayesian logistic regression with a Gaussian prior around the population (the mode of
Laplace's approximation). s_b is the variance of users' weights in block b of the features; it is chosen on training
users as new ones, and 0 leaves a block to the pooled reward. With no evidence v_u is 0, with much of it the user's own
maximum likelihood.
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

VARIANCES = (0.0, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Among them the prior variance of a block is chosen; rows of a block have a mean squared length of about 1."""


class MapLinearConfig(PersonalConfig):
    """`variance`: the prior variance of all blocks; None chooses that of each block on training users."""

    variance: float | None = Field(None, ge=0)


class MapLinear(PersonalMethod):
    """The mode of a user's weights around the pooled reward, from all comparisons of the state."""

    name: ClassVar[str] = "map_linear"
    Config: ClassVar[type[Config]] = MapLinearConfig
    personal_arrays: ClassVar[tuple[str, ...]] = ("variances",)
    variances: Floats | None = None
    """The prior variance of each column of z, shape (q,)."""

    def learn(self, users: Sequence[UserRows], episodes: Sequence[Episode]) -> None:
        """Choose the prior variance of each block, the first block first, all others as they are."""
        sizes = self.block_sizes
        if self.config.variance is not None:
            self.variances = np.full(sum(sizes), self.config.variance)
            return
        chosen = [0.0] * len(sizes)

        def all_at(variance: float) -> None:
            chosen[:] = [variance] * len(sizes)
            self.variances = np.repeat(chosen, sizes)

        self.choose(VARIANCES, episodes, all_at)
        for block in range(len(sizes) if len(sizes) > 1 else 0):

            def one_at(variance: float, block: int = block) -> None:
                chosen[block] = variance
                self.variances = np.repeat(chosen, sizes)

            # The present value stands first, so that another one must be better by more than noise.
            self.choose([chosen[block], *(v for v in VARIANCES if v != chosen[block])], episodes, one_at)

    def user_vector(self, rows: UserRows) -> Floats:
        """v_u, shape (q,)."""
        variances = np.zeros(rows.differences.shape[1]) if self.variances is None else self.variances
        return map_estimate(rows.differences, rows.margins, variances).mode
