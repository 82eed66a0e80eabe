"""PReF: a user is a point in a low-rank space of rewards, and is asked what tells most about it (Shenfeld et al. 2025,
arXiv 2503.06358).

    r(u, x, y) = w . f(x, y) + c phi(x, y) . lambda_u,     phi = B' z(x, y),     lambda_u ~ N(0, S)

B starts from the leading directions of the users' own weights (the paper's SVD of the users x pairs matrix) and is
then fitted jointly with all lambda_u by maximum likelihood with an L2 penalty of 0.02 (its section 3). A new user's
lambda_u has a posterior by Laplace's approximation, with covariance Sigma; `ask` picks the pair of largest

    s'(m)^2 v' Sigma v,     m the user's margin and v = phi(a) - phi(b)          (the paper's section 4)

Differences, and why: the paper's phi is a fine-tuned language model, ours is linear in z; its lambda_u is an
unregularised maximum likelihood, which is infinite after a few answers that can be separated, and ours has the prior S
of the training users; its linear form has no pooled reward, and ours is around it.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from persona_rm.config import Config
from persona_rm.errors import ScoreError
from persona_rm.maths import sigmoids
from persona_rm.methods.crossfit import CrossFitConfig, CrossFitMethod
from persona_rm.methods.episodes import UserRows
from persona_rm.methods.gaussian_map import MapEstimate, map_estimate
from persona_rm.methods.low_rank import codes_along, joint_fit, leading_directions, personal_vectors
from persona_rm.methods.pairwise import Floats
from persona_rm.types import Pair, Persona, UserState


class PRefConfig(CrossFitConfig):
    """`dimensions` of lambda_u; `penalty`: the L2 penalty on lambda_u and on B;
    `start`: the prior variance of the users' own weights from which B starts."""

    dimensions: int = Field(6, ge=1)
    penalty: float = Field(0.02, ge=0)
    start: float = Field(3.0, gt=0)


class PRef(CrossFitMethod):
    """Low-rank weights with a posterior, and the question whose answer tells most."""

    name: ClassVar[str] = "pref"
    Config: ClassVar[type[Config]] = PRefConfig
    personal_arrays: ClassVar[tuple[str, ...]] = ("basis", "covariance")
    basis: Floats | None = None
    """B, shape (q, dimensions)."""
    covariance: Floats | None = None
    """S, shape (dimensions, dimensions)."""

    def learn_population(self, users: Sequence[UserRows]) -> None:
        """Fit B, then S as the mean of lambda_u lambda_u' and the posterior covariances."""
        vectors = personal_vectors(users, self.config.start)
        start = leading_directions(vectors, self.config.dimensions)
        penalties = (self.config.penalty / len(users), self.config.penalty)
        self.basis, _ = joint_fit(users, start, codes_along(start, vectors), penalties)
        self.covariance = np.eye(start.shape[1])
        for _ in range(3):
            total = np.zeros_like(self.covariance)
            for one in users:
                estimate = self._estimate(one)
                total += np.outer(estimate.mode, estimate.mode) + self.covariance - estimate.reduction()
            self.covariance = total / len(users)

    def _estimate(self, rows: UserRows) -> MapEstimate:
        """The posterior of lambda_u."""
        if self.basis is None or self.covariance is None:
            raise ScoreError(f"{self.name} has learned nothing yet: call fit, or load a saved one")
        few = rows.at(slice(-self.config.memory, None))
        return map_estimate(few.differences @ self.basis, few.margins, self.covariance)

    def direction(self, rows: UserRows, variant: float) -> Floats:
        """B lambda_u, shape (q,)."""
        if self.basis is None:
            return np.zeros(rows.differences.shape[1])
        return np.asarray(self.basis @ self._estimate(rows).mode)

    def ask(self, state: UserState, pool: Sequence[Pair]) -> int:
        """The place in `pool` of the pair to ask this user about next; the order inside a pair does not matter.

        Raises `ScoreError` for an empty pool, and before `fit`.
        """
        gains = self.information(state, pool)
        return int(np.argmax(gains))

    def information(self, state: UserState, pool: Sequence[Pair]) -> Floats:
        """s'(m)^2 v' Sigma v of each pair, shape (n,): 0 for equal responses. Raises as `ask` does."""
        if not pool:
            raise ScoreError(f"{self.name} was asked for a question and was given no pairs: give one or more")
        if self.basis is None or self.covariance is None:
            raise ScoreError(f"{self.name} has learned nothing yet: call fit, or load a saved one")
        # Read as if decided, so that ties in the pool keep their places; equal responses give zeros.
        distinct = [i for i, pair in enumerate(pool) if pair.chosen != pair.rejected]
        asked = Persona("pool", pairs=tuple(Pair(pool[i].prompt, pool[i].chosen, pool[i].rejected) for i in distinct))
        [rows] = self.read_users([asked])
        estimate = self._estimate(self.kept_rows(state))
        covariance = self.covariance - estimate.reduction()
        vectors = rows.differences @ self.basis
        p = sigmoids(rows.margins + vectors @ estimate.mode)
        gains = np.zeros(len(pool))
        gains[distinct] = (p * (1 - p)) ** 2 * ((vectors @ covariance) * vectors).sum(1)
        return gains
