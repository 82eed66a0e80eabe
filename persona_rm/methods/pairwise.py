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


def fit_weights(vectors: npt.NDArray[np.floating], pairs: TextPairs, l2: float, steps: int) -> Floats:
    """The weights of the pooled reward: argmin_w mean log(1 + exp(-w . d)) + l2/2 |w|^2 over the differences d.

    Above `DENSE` comparisons the Hessian is that of a fixed sample of them. It only steers the steps: gradient and
    loss are exact, so the method ends at the same weights. Raises `ScoreError` if it does not converge.
    """
    if len(pairs) <= DENSE:
        return newton(pairs.differences(vectors), l2, steps)
    return _newton_by_text(np.asarray(vectors, np.float64), pairs, l2, steps)


def newton(differences: Floats, l2: float, steps: int, tolerance: float = 1e-9) -> Floats:
    """argmin_w mean log(1 + exp(-d . w)) + l2/2 |w|^2 over the rows d, by Newton's method with step halving.

    Raises `ScoreError` if `steps` do not bring the gradient below `tolerance`.
    """
    n, size = differences.shape
    weights = np.zeros(size)
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


def _newton_by_text(vectors: Floats, pairs: TextPairs, l2: float, steps: int, tolerance: float = 1e-9) -> Floats:
    """As `newton`, with margins from the rewards of the texts and the Hessian from `DENSE` comparisons.

    A margin is a difference of two texts' rewards, and the gradient is a sum over texts, each weighted by how often
    it should have won more: both cost (texts x width + comparisons) and not (comparisons x width).
    """
    size, n = vectors.shape[1], len(pairs)
    sample = pairs.rows(np.sort(np.random.default_rng(0).choice(n, DENSE, replace=False))).differences(vectors)
    weights = np.zeros(size)
    rewards = vectors @ weights
    for _ in range(steps):
        lost = sigmoids(rewards[pairs.rejected] - rewards[pairs.chosen])
        by_text = np.bincount(pairs.chosen, lost, len(vectors)) - np.bincount(pairs.rejected, lost, len(vectors))
        gradient = l2 * weights - vectors.T @ by_text / n
        if np.abs(gradient).max() <= tolerance:
            return weights
        p = sigmoids(sample @ weights)
        hessian = (sample.T * (p * (1 - p) / len(sample))) @ sample + l2 * np.eye(size)
        step = np.linalg.solve(hessian, gradient)
        now = _loss(rewards[pairs.chosen] - rewards[pairs.rejected], weights, l2)
        for halvings in range(60):
            tried = weights - step / 2**halvings
            rewards = vectors @ tried
            # Differences of losses below the rounding error of a mean over many rows say nothing.
            if _loss(rewards[pairs.chosen] - rewards[pairs.rejected], tried, l2) <= now + 1e-12:
                break
        weights = tried
    raise ScoreError(f"the fit did not converge in {steps} steps: raise steps or l2 (now {l2})")
