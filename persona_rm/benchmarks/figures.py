"""Figures and their intervals, in plain numpy: pure functions of arrays."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import numpy.typing as npt

from persona_rm.errors import DataError
from persona_rm.types import Directions

Floats = npt.NDArray[np.float64]
CHUNK = 1 << 22  # cells of the resampling matrix held at once (32 MB)


@dataclass(frozen=True, slots=True)
class Figure:
    """One number with its 95 % interval over `n` cases; `failed` cases got no score and are not among the `n`."""

    name: str
    value: float
    low: float
    high: float
    n: int
    failed: int = 0

    def to_dict(self) -> dict[str, str | float | int]:
        """`{"name", "value", "low", "high", "n"}`, and `"failed"` if there were failures."""
        return {key: value for key, value in asdict(self).items() if key != "failed" or value}

    @classmethod
    def from_dict(cls, row: dict[str, object]) -> "Figure":
        """The inverse of `to_dict`. Raises `DataError` naming the key that is missing or has another type."""
        for key, kind in (("name", str), ("value", float), ("low", float), ("high", float), ("n", int)):
            value = row.get(key)
            # Other programs may write 1 for 1.0.
            number = kind is float and isinstance(value, float | int) and math.isfinite(value)
            if not number and (kind is float or not isinstance(value, kind)):
                raise DataError(f"a figure needs a {kind.__name__} here, found {value!r}", key=key)
        return cls(**{key: row[key] for key in cls.__slots__ if key in row})  # type: ignore[arg-type]


def accuracy(chosen: npt.ArrayLike, rejected: npt.ArrayLike) -> Floats:
    """Per case: 1 if r(chosen) > r(rejected), 0 if it is less, 0.5 on a tie (a constant scorer is at chance).

    Raises `DataError` if a reward is not finite: a failed score is never counted as right or wrong.
    """
    a, b = np.asarray(chosen, np.float64), np.asarray(rejected, np.float64)
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise DataError(f"rewards must be finite and of one shape; found shapes {a.shape} and {b.shape}")
    # -1, 0 and 1 become 0, 0.5 and 1.
    return np.asarray((np.sign(a - b) + 1) / 2, np.float64)


def flips(margins: npt.ArrayLike, reversed_margins: npt.ArrayLike) -> Floats:
    """Flip success (paper, section 6.5 and Table 5), per case: 1 if the predicted order of the two responses turns.

    A margin is r(y_w) - r(y_l) with y_w, y_l of the ORIGINAL pair; the second array has it under the reversed persona.
    The order turns when the margins have strictly opposite signs ("from y_w > y_l to y_w < y_l, or vice versa"); a tie
    on either side is not a turn, so a scorer that ignores the persona is at 0.
    """
    a, b = np.asarray(margins, np.float64), np.asarray(reversed_margins, np.float64)
    # The product of the signs, because that of two small margins could underflow to 0.
    return np.asarray(np.sign(a) * np.sign(b) < 0, np.float64)


def unit_index(units: Sequence[str]) -> tuple[npt.NDArray[np.int64], int]:
    """The bootstrap unit of each case as a number 0..k-1, and k."""
    labels, index = np.unique(np.asarray(units, dtype=object).astype(str), return_inverse=True)
    return index.astype(np.int64), len(labels)


def draw_weights(k: int, resamples: int, rng: np.random.Generator) -> Floats:
    """Multinomial weights, shape (resamples, k): how often each of k units is drawn in each resample of size k."""
    # Every resample counts in a range of bins of its own, so that one `bincount` serves all of them.
    drawn = rng.integers(k, size=(resamples, k)) + k * np.arange(resamples)[:, None]
    return np.bincount(drawn.ravel(), minlength=resamples * k).reshape(resamples, k).astype(np.float64)


def bootstrap_ratio(
    numerators: npt.ArrayLike, denominators: npt.ArrayLike, units: Sequence[str], seed: int = 0, resamples: int = 2000
) -> tuple[float, float, float]:
    """(value, low, high) of sum(numerators) / sum(denominators): percentile 95 % interval, whole units drawn.

    Cases of one user share that user's state, so users are drawn, not cases (a cluster bootstrap). Resamples whose
    denominator is 0 have no value and are left out. Raises `DataError` below two units or if the total is 0.
    """
    index, k = unit_index(units)
    # Resampling a single unit gives the same value every time, which would look like certainty.
    if k < 2:
        raise DataError(f"an interval needs two bootstrap units (users) or more; found {k}: evaluate more users")
    top = np.bincount(index, np.asarray(numerators, np.float64), minlength=k)
    bottom = np.bincount(index, np.asarray(denominators, np.float64), minlength=k)
    if bottom.sum() <= 0:
        raise DataError("nothing to divide by: no case counts towards this figure")
    # Sums by unit first: then a resample is one row of weights, and a chunk of resamples one matrix product.
    rng, step, draws = np.random.default_rng(seed), max(1, CHUNK // k), []
    for start in range(0, resamples, step):
        weights = draw_weights(k, min(step, resamples - start), rng)
        sums, counts = weights @ top, weights @ bottom
        draws.append(sums[counts > 0] / counts[counts > 0])
    low, high = np.percentile(np.concatenate(draws), [2.5, 97.5])
    return float(top.sum() / bottom.sum()), float(low), float(high)


def mean_figure(
    name: str, values: Floats, units: Sequence[str], *, seed: int = 0, resamples: int = 2000, failed: int = 0
) -> Figure:
    """The mean of per-case values, with its interval by unit."""
    value, low, high = bootstrap_ratio(values, np.ones(len(values)), units, seed, resamples)
    return Figure(name, value, low, high, len(values), failed)


def direction_figures(
    prefix: str,
    inferred: Sequence[Directions],
    golden: Sequence[Directions],
    units: Sequence[str],
    *,
    seed: int = 0,
    resamples: int = 2000,
) -> tuple[list[Figure], list[str]]:
    """Precision and recall per direction, pooled over users and dimensions (paper, Table 12), and what is undefined.

    precision(c) = |inferred = c and golden = c| / |inferred = c|; recall(c) divides by |golden = c|. A figure whose
    divisor is 0 (nothing was inferred positive, say) has no value: its name is in the second list. `n` is the divisor.
    """
    guess, truth = np.asarray(inferred, np.int64), np.asarray(golden, np.int64)
    if guess.shape != truth.shape or guess.ndim != 2:
        raise DataError(f"directions must be two equal tables; found shapes {guess.shape} and {truth.shape}")
    figures, undefined = [], []
    for label, value in (("positive", 1), ("negative", -1), ("neutral", 0)):
        # Counts by case: the bootstrap sums them by unit and divides last.
        hits = ((guess == value) & (truth == value)).sum(axis=1)
        for kind, of in (("precision", guess), ("recall", truth)):
            name, counts = f"{prefix}_{label}_{kind}", (of == value).sum(axis=1)
            if counts.sum() == 0:
                undefined.append(name)
                continue
            figures.append(Figure(name, *bootstrap_ratio(hits, counts, units, seed, resamples), int(counts.sum())))
    return figures, undefined
