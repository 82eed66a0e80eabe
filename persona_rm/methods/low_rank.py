"""Few directions in which users differ: from the users' own weights, and by a joint fit of basis and codes.

    P(chosen beats rejected) = sigmoid(m_i + (d_i B) . k_u)

m_i are the pooled margins and d_i the differences of n comparisons, B the basis, shape (q, rank), and k_u the code of
user u, shape (rank,). All is full-batch and starts from a decomposition, so the order of the data does not matter.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from persona_rm.maths import sigmoids
from persona_rm.methods.episodes import UserRows
from persona_rm.methods.gaussian_map import map_estimate
from persona_rm.methods.pairwise import Floats, Places

MOST_ROWS = 64
"""Comparisons of a user that a basis is learned from."""


def personal_vectors(users: Sequence[UserRows], variance: float) -> Floats:
    """Each user's most probable weights under the prior N(0, variance), shape (users, q); zeros without evidence."""
    few = [one.at(slice(-MOST_ROWS, None)) for one in users]
    prior = np.full(few[0].differences.shape[1], variance)
    return np.stack([map_estimate(one.differences, one.margins, prior).mode for one in few])


def leading_directions(vectors: Floats, rank: int) -> Floats:
    """The directions along which the rows vary most, each as long as their root mean square along it: (q, r).

    r is `rank`, or less if the rows span less. The signs are arbitrary.
    """
    _, lengths, directions = np.linalg.svd(vectors, full_matrices=False)
    kept = min(rank, len(lengths))
    return np.asarray(directions[:kept].T * (lengths[:kept] / len(vectors) ** 0.5))


def codes_along(directions: Floats, vectors: Floats) -> Floats:
    """The codes whose combination of `directions`, which are orthogonal, comes nearest to each row: (users, r)."""
    squares = (directions**2).sum(0)
    return np.asarray(vectors @ directions / np.where(squares > 0, squares, 1.0))


def both_ways(directions: Floats, columns: int) -> Floats:
    """Each direction and its opposite, then zeros up to `columns`: a start that no arbitrary sign changes."""
    pairs = np.stack([directions, -directions], axis=2).reshape(len(directions), -1)[:, :columns]
    return np.pad(pairs, ((0, 0), (0, columns - pairs.shape[1])))


@dataclass(frozen=True, slots=True)
class StackedRows:
    """The newest comparisons of users below one another; `user[i]` is the place of row i's user."""

    differences: Floats
    margins: Floats
    user: Places
    counts: Places
    """Comparisons of each user, shape (users,)."""

    @classmethod
    def of(cls, users: Sequence[UserRows], most: int = MOST_ROWS) -> "StackedRows":
        """At most `most` comparisons of each user."""
        few = [one.at(slice(-most, None)) for one in users]
        counts = np.array([len(one) for one in few], np.int64)
        differences = np.concatenate([one.differences for one in few])
        margins = np.concatenate([one.margins for one in few])
        return cls(differences, margins, np.repeat(np.arange(len(few)), counts), counts)

    def by_user(self, values: Floats) -> Floats:
        """The sum over each user's rows, shape (users, columns)."""
        columns = [np.bincount(self.user, column, len(self.counts)) for column in values.T]
        return np.stack(columns, axis=1)


@dataclass(slots=True)
class Adam:
    """Adam (Kingma and Ba 2015) on one array, with its published moments."""

    rate: float
    first: Floats | float = 0.0
    second: Floats | float = 0.0
    step: int = 0

    def moved(self, values: Floats, gradient: Floats) -> Floats:
        """The values after one step down the gradient."""
        self.step += 1
        self.first = 0.9 * self.first + 0.1 * gradient
        self.second = 0.999 * self.second + 0.001 * gradient**2
        mean, square = self.first / (1 - 0.9**self.step), self.second / (1 - 0.999**self.step)
        return np.asarray(values - self.rate * mean / (np.sqrt(square) + 1e-8))


def joint_fit(
    users: Sequence[UserRows], basis: Floats, codes: Floats, penalties: tuple[float, float], *, simplex: bool = False,
    steps: int = 150, rate: float = 0.03,
) -> tuple[Floats, Floats]:  # fmt: skip
    """Basis and codes after `steps` of Adam on the mean log loss + a/2 |B|^2 + b/2 mean |k_u|^2.

    `penalties` are a and b; zero is the pooled reward. With `simplex` the codes are logits, and a user's weights
    are their softmax; the columns of B then sum to zero, so that even weights are the pooled reward. Returns B, shape
    (q, rank), and the codes (or logits), shape (users, rank).
    """
    rows = StackedRows.of(users)
    moves = Adam(rate), Adam(rate)
    for _ in range(steps):
        weights = softmax_rows(codes) if simplex else codes
        read = rows.differences @ basis
        own = weights[rows.user]
        lost = sigmoids(-(rows.margins + (read * own).sum(1))) / len(rows.margins)
        basis_gradient = penalties[0] * basis - rows.differences.T @ (lost[:, None] * own)
        code_gradient = -rows.by_user(lost[:, None] * read)
        if simplex:
            code_gradient = weights * (code_gradient - (weights * code_gradient).sum(1, keepdims=True))
            basis_gradient -= basis_gradient.mean(1, keepdims=True)
        code_gradient += penalties[1] * codes / len(codes)
        basis, codes = moves[0].moved(basis, basis_gradient), moves[1].moved(codes, code_gradient)
        if simplex:
            # Adam's steps are not orthogonal projections of the gradient.
            basis = basis - basis.mean(1, keepdims=True)
    return basis, codes


def softmax_rows(logits: Floats) -> Floats:
    """Non-negative weights that sum to one in each row."""
    raised = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(raised / raised.sum(-1, keepdims=True))
