"""LoRe: every user is a mixture of a few basis rewards (Bose et al. 2025, arXiv 2504.14439).

    r(u, x, y) = w_u' V' e(x, y),   w_u in the simplex of B weights

V and all w_u are fitted jointly to the training users' comparisons by maximum likelihood with a penalty on the
distance of V to a reference reward (the paper's section 3); a new user's w_u is fitted with V frozen. The reference is
the pooled reward here, so V = w 1' + D, and because weights sum to one

    r(u, x, y) = w . f(x, y) + c z(x, y)' D w_u,   penalty on |D|^2,   D 1 = 0

so that even weights, those of an unknown user, give the pooled reward.

Differences, and why: the start is the leading directions of the users' own weights and their opposites instead of
noise (no seed, and far fewer steps); the paper divides logits by 100, the scale of its reward model, and ours are
standardised; a new user's weights maximise the likelihood minus `strength` times their KL divergence to the uniform
ones, because after two comparisons the maximum likelihood is a corner of the simplex. Written from the paper.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from persona_rm.config import Config
from persona_rm.maths import sigmoids
from persona_rm.methods.crossfit import CrossFitConfig, CrossFitMethod
from persona_rm.methods.episodes import UserRows
from persona_rm.methods.low_rank import both_ways, joint_fit, leading_directions, personal_vectors, softmax_rows
from persona_rm.methods.pairwise import Floats

STRENGTHS = (1.0, 0.3, 3.0)
"""Weights of the KL divergence among which training users choose; the first one is used if `scale` is given."""
STEPS = 100


class LoReConfig(CrossFitConfig):
    """`basis` is B. `penalty` on D beside the mean loss; `start`: the prior variance of the users' own weights from
    which D starts."""

    basis: int = Field(5, ge=2)
    penalty: float = Field(1e-3, ge=0)
    start: float = Field(3.0, gt=0)


class LoRe(CrossFitMethod):
    """Simplex weights over a learned basis of rewards."""

    name: ClassVar[str] = "lore"
    Config: ClassVar[type[Config]] = LoReConfig
    personal_arrays: ClassVar[tuple[str, ...]] = ("basis",)
    basis: Floats | None = None
    """D, shape (q, B)."""

    @property
    def alternatives(self) -> Sequence[float]:
        """The weight of the KL divergence."""
        return STRENGTHS

    def learn_population(self, users: Sequence[UserRows]) -> None:
        """Fit D and the training users' weights jointly."""
        vectors = personal_vectors(users, self.config.start)
        # Twice as long, because a user with even weights on a direction and its opposite has none of it.
        start = both_ways(2 * leading_directions(vectors, self.config.basis // 2), self.config.basis)
        logits = np.zeros((len(users), self.config.basis))
        self.basis, _ = joint_fit(users, start, logits, (self.config.penalty, 1e-2), simplex=True)

    def direction(self, rows: UserRows, variant: float) -> Floats:
        """D w_u, shape (q,)."""
        if self.basis is None:
            return np.zeros(rows.differences.shape[1])
        weights = simplex_weights(rows.differences @ self.basis, rows.margins, variant)
        return np.asarray(self.basis @ weights)


def simplex_weights(read: Floats, margins: Floats, strength: float) -> Floats:
    """argmax over the simplex of sum_i log sigmoid(m_i + read_i . w) - strength KL(w, uniform), shape (B,).

    `read` has shape (n, B). Exponentiated gradient (Kivinen and Warmuth 1997), which stays inside the simplex; the
    function is concave, so the start does not matter.
    """
    logits = np.zeros(read.shape[1])
    # The curvature of the loss is at most that of n logistic terms.
    rate = 1.0 / (strength + 0.25 * float((np.abs(read).max(1, initial=0.0) ** 2).sum()))
    for _ in range(STEPS):
        weights = softmax_rows(logits)
        gradient = sigmoids(-(margins + read @ weights)) @ read
        # The gradient of the divergence is log w, up to a constant that a softmax does not see.
        logits = (1 - rate * strength) * logits + rate * gradient
    return softmax_rows(logits)
