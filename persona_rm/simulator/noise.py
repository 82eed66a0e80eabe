"""Annotation noise: one confusion matrix of levels per dimension, and draws from it."""

import math
from collections.abc import Sequence
from itertools import accumulate
from random import Random

from persona_rm.types import Levels

NoiseRow = tuple[float, float, float]
Confusion = tuple[NoiseRow, NoiseRow, NoiseRow]
"""P(annotated level | true level), rows and columns in the order 1, 2, 3."""

Range = tuple[float, float]


def check_confusion(confusion: Confusion) -> Confusion:
    """The matrix itself. Raises ValueError if a row is not a distribution."""
    for row in confusion:
        if min(row) < 0 or abs(sum(row) - 1) > 1e-6:
            raise ValueError(f"a row of `confusion` is a distribution over levels 1..3; {list(row)} is not")
    return confusion


def check_overclaim(rates: Range) -> Range:
    """The range itself. Raises ValueError if no log-uniform rate can be drawn from it."""
    low, high = rates
    if not 0 <= low <= high <= 1:
        raise ValueError(f"`overclaim` is (lowest, highest) rate with 0 <= lowest <= highest <= 1, not {list(rates)}")
    if low == 0 < high:
        raise ValueError(
            f"`overclaim` rates are drawn log-uniform, so the lowest must be above 0; {list(rates)} was given. "
            "(0, 0) turns them off"
        )
    return rates


def confusions_of(confusion: Confusion, overclaim: Range, seed: int, ids: Sequence[str]) -> tuple[Confusion, ...]:
    """One matrix per dimension.

    With overclaims the middle row holds this dimension's rate of reading 1 or 3 (evenly) although a text is silent,
    drawn from the seed and the dimension's id; the outer rows stay as they are.
    """
    if not any(overclaim):
        return (confusion,) * len(ids)
    # A generator for each dimension, by its id: a dimension keeps its rate when others are added to the space.
    rates = (_log_uniform(overclaim, Random(f"{seed}/overclaim/{id}")) for id in ids)
    return tuple((confusion[0], (rate / 2, 1 - rate, rate / 2), confusion[2]) for rate in rates)


def cumulated(confusion: Confusion) -> tuple[NoiseRow, ...]:
    """The running sums of each row, with which `misread` compares its draws."""
    return tuple((a, b, c) for a, b, c in map(accumulate, confusion))


def misread(levels: Levels, sums: Sequence[Sequence[NoiseRow]], rng: Random) -> Levels:
    """The levels as read: one draw for each. `sums` holds `cumulated` of each dimension's matrix."""
    return tuple(_draw(rows[level - 1], rng.random()) for level, rows in zip(levels, sums, strict=True))


def _draw(sums: NoiseRow, u: float) -> int:
    u *= sums[2]  # a row's sum is 1 up to rounding
    return 1 if u < sums[0] else 2 if u < sums[1] else 3


def _log_uniform(rates: Range, rng: Random) -> float:
    # Log-uniform, so that every order of magnitude between the two rates is equally likely.
    low, high = map(math.log, rates)
    return math.exp(low + (high - low) * rng.random())
