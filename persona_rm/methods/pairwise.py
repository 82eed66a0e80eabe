"""Shared by methods that learn from comparisons: distinct texts, and the pooled reward's weights.

Comparisons name few distinct texts many times. `TextPairs` numbers the texts, so that each is embedded once and a
comparison is two numbers. No array of the size (comparisons, width) is needed in 64 bits for large data.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from persona_rm.errors import ScoreError
from persona_rm.maths import sigmoids
from persona_rm.types import Comparison

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]
DENSE = 20_000
"""Up to so many comparisons Newton's method holds all differences. Above, so many are drawn for its Hessian."""
FEW_TEXTS = 3000
"""Up to so many texts the exact Hessian is computed from a matrix of them (72 MB)."""
CHUNK = 16_384
"""Comparisons whose differences are held at once above `DENSE`."""


@dataclass(frozen=True, slots=True)
class TextPairs:
    """Comparisons as places in a list of distinct texts: row i prefers `texts[chosen[i]]` to `texts[rejected[i]]`."""

    texts: list[tuple[str, str]]
    """(prompt, response), each once."""
    chosen: Places
    rejected: Places

    def __len__(self) -> int:
        return len(self.chosen)

    @classmethod
    def of(cls, comparisons: Sequence[Comparison]) -> "TextPairs":
        """The comparisons' texts in the order of first appearance."""
        place: dict[tuple[str, str], int] = {}
        chosen, rejected = np.empty(len(comparisons), np.int64), np.empty(len(comparisons), np.int64)
        for row, one in enumerate(comparisons):
            chosen[row] = place.setdefault((one.prompt, one.chosen), len(place))
            rejected[row] = place.setdefault((one.prompt, one.rejected), len(place))
        return cls(list(place), chosen, rejected)

    def rows(self, rows: Places) -> "TextPairs":
        """Some of the comparisons, over the same texts."""
        return TextPairs(self.texts, self.chosen[rows], self.rejected[rows])

    def differences(self, vectors: npt.NDArray[np.floating]) -> Floats:
        """f(chosen) - f(rejected) of every row; `vectors` are those of `texts`."""
        # In float64: the tolerance of the fit is below what float32 can resolve.
        difference: Floats = vectors[self.chosen].astype(np.float64) - vectors[self.rejected]
        return difference

    def chunks(self) -> Iterator[tuple["TextPairs", Places]]:
        """The comparisons in pieces whose differences fit into memory, each with its rows."""
        for start in range(0, len(self), CHUNK):
            rows = np.arange(start, min(start + CHUNK, len(self)))
            yield self.rows(rows), rows


def check_finite(vectors: npt.NDArray[np.floating], pairs: TextPairs) -> None:
    """Raises `ScoreError` naming the comparisons whose vectors are not finite."""
    broken = ~np.isfinite(vectors).all(1)
    if broken.any():
        bad = np.flatnonzero(broken[pairs.chosen] | broken[pairs.rejected])
        problem = "the encoder gave a number that is not finite (rows are comparisons)"
        raise ScoreError(problem, tuple(bad.tolist()), "not_finite")


def fit_weights(
    vectors: npt.NDArray[np.floating], pairs: TextPairs, l2: float | Floats, steps: int,
    start: Floats | None = None, tolerance: float = 1e-9,
) -> Floats:  # fmt: skip
    """The weights of the pooled reward: argmin_w mean log(1 + exp(-w . d)) + sum_j l2_j/2 w_j^2 over differences d.

    `l2` is one penalty, or one per column; inf leaves a column out, and its weight is 0. Newton's method on distinct
    texts if they are few for the comparisons, else on the differences. Above `DENSE` comparisons of many texts the
    Hessian is that of a fixed sample of them. It only steers the steps: gradient and loss are exact, so the method
    ends at the same weights. Raises `ScoreError` if it does not converge in `steps`.
    """
    size = vectors.shape[1]
    penalties = np.broadcast_to(np.asarray(l2, np.float64), (size,))
    kept = np.isfinite(penalties)
    weights = np.zeros(size)
    if not kept.any():
        return weights
    # Columns divided by the square root of their penalty, so that one penalty of 1 holds for all of them.
    roots = np.sqrt(penalties[kept])
    scaled = np.asarray(vectors, np.float64)[:, kept] / roots
    begin = np.zeros(int(kept.sum())) if start is None else start[kept] * roots
    weights[kept] = _fit_scaled(scaled, pairs, steps, begin, tolerance) / roots
    return weights


def _fit_scaled(vectors: Floats, pairs: TextPairs, steps: int, start: Floats, tolerance: float) -> Floats:
    """`fit_weights` with a penalty of 1, by the cheapest of the three ways."""
    n_texts, size = vectors.shape
    by_text = n_texts <= FEW_TEXTS and n_texts * (n_texts + size) < len(pairs) * size
    if by_text:
        return _newton_by_text(vectors, pairs, steps, start, tolerance, None)
    if len(pairs) <= DENSE:
        return newton(pairs.differences(vectors), 1.0, steps, tolerance, start)
    sample = pairs.rows(np.sort(np.random.default_rng(0).choice(len(pairs), DENSE, replace=False)))
    return _newton_by_text(vectors, pairs, steps, start, tolerance, sample.differences(vectors))


def newton(differences: Floats, l2: float, steps: int, tolerance: float = 1e-9, start: Floats | None = None) -> Floats:
    """argmin_w mean log(1 + exp(-d . w)) + l2/2 |w|^2 over the rows d, by Newton's method with step halving.

    Raises `ScoreError` if `steps` do not bring the gradient below `tolerance`.
    """
    n, size = differences.shape
    weights = np.zeros(size) if start is None else start
    for _ in range(steps):
        # P(the rejected response wins) per row: the gradient weighs each row by it, the Hessian by p (1 - p).
        lost = sigmoids(-differences @ weights)
        gradient = l2 * weights - differences.T @ lost / n
        if np.abs(gradient).max() <= tolerance:
            return weights
        # The penalty adds l2 to the diagonal, so the system can be solved even if differences do not span all
        # dimensions.
        hessian = (differences.T * (lost * (1 - lost) / n)) @ differences + l2 * np.eye(size)
        weights = _descend(differences, weights, np.linalg.solve(hessian, gradient), l2)
    raise ScoreError(f"the fit did not converge in {steps} steps: raise steps or l2 (now {l2})")


def _descend(differences: Floats, weights: Floats, step: Floats, l2: float) -> Floats:
    """The longest of the halved steps that does not raise the loss."""
    now = _loss(differences @ weights, weights, l2)
    # After 60 halvings a step is below the precision of a float64, and the weights stay as they are.
    tried = (np.asarray(weights - step / 2**halvings) for halvings in range(60))
    return next((one for one in tried if _loss(differences @ one, one, l2) <= now), weights)


def _loss(margins: Floats, weights: Floats, l2: float) -> float:
    # log(1 + exp(-d . w)) without overflow for large margins.
    return float(np.logaddexp(0, -margins).mean() + l2 / 2 * weights @ weights)


def _newton_by_text(
    vectors: Floats, pairs: TextPairs, steps: int, start: Floats, tolerance: float, sample: Floats | None
) -> Floats:
    """As `newton` with l2 = 1, with margins from the rewards of the texts; the Hessian from them, or from a sample.

    A margin is a difference of two texts' rewards, and the gradient is a sum over texts, each weighted by how often
    it should have won more: both cost (texts x width + comparisons) and not (comparisons x width). So does the
    Hessian X' L X, where L is the Laplacian of the graph of compared texts, an edge weighing sum p (1 - p).
    """
    n = len(pairs)
    weights = start
    rewards = vectors @ weights
    for _ in range(steps):
        lost = sigmoids(rewards[pairs.rejected] - rewards[pairs.chosen])
        by_text = np.bincount(pairs.chosen, lost, len(vectors)) - np.bincount(pairs.rejected, lost, len(vectors))
        gradient = weights - vectors.T @ by_text / n
        if np.abs(gradient).max() <= tolerance:
            return weights
        if sample is None:
            hessian = vectors.T @ (_laplacian(pairs, lost * (1 - lost) / n, len(vectors)) @ vectors)
        else:
            p = sigmoids(sample @ weights)
            hessian = (sample.T * (p * (1 - p) / len(sample))) @ sample
        step = np.linalg.solve(hessian + np.eye(len(weights)), gradient)
        now = _loss(rewards[pairs.chosen] - rewards[pairs.rejected], weights, 1.0)
        for halvings in range(60):
            tried = weights - step / 2**halvings
            rewards = vectors @ tried
            # Differences of losses below the rounding error of a mean over many rows say nothing.
            if _loss(rewards[pairs.chosen] - rewards[pairs.rejected], tried, 1.0) <= now + 1e-12:
                break
        weights = tried
    raise ScoreError(f"the fit did not converge in {steps} steps: raise steps or l2")


def _laplacian(pairs: TextPairs, edges: Floats, n_texts: int) -> Floats:
    """The weighted graph Laplacian of the comparisons, shape (texts, texts): X' L X = sum of edge d d'."""
    flat = np.bincount(pairs.chosen * n_texts + pairs.rejected, edges, n_texts * n_texts)
    between = flat.reshape(n_texts, n_texts)
    between = between + between.T
    return np.asarray(np.diag(between.sum(1)) - between)
