"""A user is rewarded like the most similar training users.

    v_u = c sum_j s_uj v_j / sum_j s_uj,     s_uj = max(0, cos(a_u, v_j)),     over the k nearest j

v_j is the most probable personal part of training user j (`map_linear`, isotropic prior) and a_u the same of the
user's own few comparisons: neighbourhood collaborative filtering (Resnick et al. 1994, equation 1) on reward weights
instead of ratings, so that users need not have judged the same texts. k and c are chosen on users and texts that were
left out. The state depends on other users: `forget` of one user does not change the neighbours of a fit.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from persona_rm.config import Config
from persona_rm.methods.crossfit import CrossFitConfig, CrossFitMethod
from persona_rm.methods.episodes import UserRows
from persona_rm.methods.gaussian_map import map_estimate
from persona_rm.methods.low_rank import personal_vectors
from persona_rm.methods.pairwise import Floats

COUNTS = (20, 5, 50)
"""Numbers of neighbours among which training users choose; the first one is used if `scale` is given."""


class KnnUsersConfig(CrossFitConfig):
    """`neighbours` is k; None chooses it on training users. `variance`: the prior variance of every user's weights."""

    neighbours: int | None = Field(None, ge=1)
    variance: float = Field(3.0, gt=0)


class KnnUsers(CrossFitMethod):
    """The weighted mean of the k nearest training users' weights."""

    name: ClassVar[str] = "knn_users"
    Config: ClassVar[type[Config]] = KnnUsersConfig
    personal_arrays: ClassVar[tuple[str, ...]] = ("others",)
    others: Floats | None = None
    """The training users' weights v_j, shape (users, q)."""

    @property
    def alternatives(self) -> Sequence[float]:
        """k."""
        return COUNTS if self.config.neighbours is None else (self.config.neighbours,)

    def learn_population(self, users: Sequence[UserRows]) -> None:
        """Set v_j of every user with evidence."""
        self.others = personal_vectors([one for one in users if len(one)], self.config.variance)

    def direction(self, rows: UserRows, variant: float) -> Floats:
        """The mean of the k = `variant` nearest users, shape (q,); zeros if no user is similar."""
        own = map_estimate(rows.differences, rows.margins, np.full(rows.differences.shape[1], self.config.variance))
        if self.others is None:
            return np.zeros(len(own.mode))
        lengths = np.linalg.norm(self.others, axis=1) * np.linalg.norm(own.mode)
        # A user without weights is similar to no other.
        similar = np.maximum(0.0, self.others @ own.mode / np.where(lengths > 0, lengths, np.inf))
        nearest = np.argsort(-similar, kind="stable")[: int(variant)]
        total = similar[nearest].sum()
        return np.asarray(similar[nearest] @ self.others[nearest] / (total if total > 0 else 1.0))
