"""The most probable weights of a user under a Gaussian prior around the pooled reward, and their uncertainty.

    argmax_v  sum_i log sigmoid(m_i + d_i . v) - v' S^-1 v / 2

m_i are the pooled margins and d_i the differences of n comparisons, S the prior covariance, shape (q, q). Newton's
method in the space of the n margins (Rasmussen and Williams 2006, algorithm 3.1): S need not be invertible, and a
user with few comparisons costs n^3 and not q^3.
"""

from dataclasses import dataclass

import numpy as np

from persona_rm.errors import ScoreError
from persona_rm.maths import sigmoids
from persona_rm.methods.pairwise import Floats

STEPS = 100
TOLERANCE = 1e-8


@dataclass(frozen=True, slots=True)
class MapEstimate:
    """The mode, shape (q,), and what its covariance needs: S D', shape (q, n), and the curvature of each margin."""

    mode: Floats
    spread: Floats
    curvature: Floats
    covariance_of_margins: Floats

    def reduction(self) -> Floats:
        """S minus the posterior covariance (Laplace), shape (q, q): S D' (K + W^-1)^-1 D S."""
        root = np.sqrt(self.curvature)
        inner = np.eye(len(root)) + root[:, None] * self.covariance_of_margins * root
        half = self.spread * root
        return np.asarray(half @ np.linalg.solve(inner, half.T))


def map_estimate(differences: Floats, margins: Floats, covariance: Floats) -> MapEstimate:
    """The estimate for one user. `covariance` has shape (q, q), or (q,) for a diagonal one.

    Raises `ScoreError` if Newton's method does not converge, which a concave function allows only for numbers that
    are not finite.
    """
    spread = covariance[:, None] * differences.T if covariance.ndim == 1 else covariance @ differences.T
    between = differences @ spread
    dual = np.zeros(len(margins))
    for _ in range(STEPS):
        personal = between @ dual
        lost = sigmoids(-(margins + personal))
        step = _newton_step(between, personal, lost, dual)
        # At the mode the dual is the gradient of the likelihood.
        if np.abs(lost - dual).max(initial=0.0) <= TOLERANCE:
            return MapEstimate(spread @ dual, spread, lost * (1 - lost), between)
        dual = _longest(between, margins, dual, step)
    raise ScoreError(f"a user's weights did not converge in {STEPS} steps")


def _newton_step(between: Floats, personal: Floats, lost: Floats, dual: Floats) -> Floats:
    curvature = lost * (1 - lost)
    root = np.sqrt(curvature)
    target = curvature * personal + lost
    inner = np.eye(len(root)) + root[:, None] * between * root
    solved = root * np.linalg.solve(inner, root * (between @ target))
    return np.asarray(target - solved - dual)


def _longest(between: Floats, margins: Floats, dual: Floats, step: Floats) -> Floats:
    """The longest of the halved steps that does not raise the loss."""

    def loss(at: Floats) -> float:
        personal = between @ at
        return float(np.logaddexp(0, -(margins + personal)).sum() + at @ personal / 2)

    now = loss(dual)
    for halvings in range(40):
        tried = dual + step / 2**halvings
        if loss(tried) <= now + 1e-12:
            break
    return np.asarray(tried)
