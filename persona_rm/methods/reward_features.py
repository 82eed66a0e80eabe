"""Reward features: all users share the features of the reward, each has own weights (Barreto et al. 2025, arXiv
2503.17338).

    r(u, x, y) = phi(x, y) . w_u,     phi(x, y) in R^d

phi and all w_u are fitted jointly to the training users' comparisons; a new user's w_u is a logistic regression with
phi frozen, which is convex (the paper's section 4). Here the pooled reward is one of the features, so that a user may
also weigh the population more, less, or against it:

    r(u, x, y) = (1 + a_u) w . f(x, y) + b_u . phi(x, y),    phi = B' (z(x, y), w . f(x, y))

Differences, and why: the paper's phi is the last layer of a fine-tuned language model and ours is linear in frozen
features, because users are few; a new user's weights have a Gaussian prior, because they are fitted to 2 to 16
comparisons. `pref` has the same form, but a learned prior and no weight on the pooled reward.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from persona_rm.config import Config
from persona_rm.methods.crossfit import CrossFitConfig, CrossFitMethod
from persona_rm.methods.episodes import UserRows
from persona_rm.methods.gaussian_map import map_estimate
from persona_rm.methods.low_rank import codes_along, joint_fit, leading_directions, personal_vectors
from persona_rm.methods.pairwise import Floats

VARIANCES = (1.0, 0.3, 3.0)
"""Prior variances of w_u among which training users choose; the first one is used if `scale` is given."""


class RewardFeaturesConfig(CrossFitConfig):
    """`dimensions` is d. `penalty`: the L2 penalty on w_u in the joint fit; `start`: the prior variance of the users'
    own weights from which phi starts."""

    dimensions: int = Field(8, ge=1)
    penalty: float = Field(0.02, ge=0)
    start: float = Field(3.0, gt=0)


class RewardFeatures(CrossFitMethod):
    """Own weights on shared features of the reward, the pooled reward among them."""

    name: ClassVar[str] = "reward_features"
    Config: ClassVar[type[Config]] = RewardFeaturesConfig
    personal_arrays: ClassVar[tuple[str, ...]] = ("basis",)
    basis: Floats | None = None
    """B, shape (q + 1, d): the last row belongs to the pooled reward."""

    @property
    def alternatives(self) -> Sequence[float]:
        """The prior variance of w_u."""
        return VARIANCES

    @property
    def vector_size(self) -> int:
        """z, and the pooled reward."""
        return super().vector_size + 1

    def learn_population(self, users: Sequence[UserRows]) -> None:
        """Fit B and the training users' w_u jointly."""
        wide = [with_pooled(one) for one in users]
        vectors = personal_vectors(wide, self.config.start)
        start = leading_directions(vectors, self.config.dimensions)
        penalties = (self.config.penalty / len(users), self.config.penalty)
        self.basis, _ = joint_fit(wide, start, codes_along(start, vectors), penalties)

    def direction(self, rows: UserRows, variant: float) -> Floats:
        """B w_u, shape (q + 1,)."""
        if self.basis is None:
            return np.zeros(rows.differences.shape[1] + 1)
        read = with_pooled(rows).differences @ self.basis
        return np.asarray(self.basis @ map_estimate(read, rows.margins, np.full(read.shape[1], variant)).mode)

    def added(self, vector: Floats, features: Floats, pooled: Floats) -> Floats:
        """b_u . phi + a_u pooled, shape (n,)."""
        return np.asarray((features * vector[:-1]).sum(1) + pooled * vector[-1])


def with_pooled(rows: UserRows) -> UserRows:
    """The comparisons with their pooled margin as one more column."""
    return UserRows(np.column_stack([rows.differences, rows.margins]), rows.margins)
