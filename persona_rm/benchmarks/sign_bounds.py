"""Bounds of a difference of two accuracies that hold however few comparisons the two scorers order differently.

A bootstrap draws what was seen. If no user gained, no resample has a gain, and its interval ends at 0 even with twenty
users. These bounds count instead: of n comparisons, `won` are ordered right by the first scorer alone and `lost` by
the second alone. The difference is q (2 t - 1), where q is the share of comparisons that change and t the share of won
ones among those; both are binomial and have exact intervals (Clopper and Pearson, 1934).
"""

import math
from dataclasses import dataclass

import numpy as np

from persona_rm.benchmarks.figures import Floats

TAIL = 0.025
"""The probability beyond either bound, as in the 95 % intervals of the figures."""
_STEPS = 60
_EXACT = 5000
"""Above so many cases the normal approximation has the same digits, and a sum of so many terms costs."""
_MOST = 1e9
_Z = 1.96


def binomial_upper(k: int, n: int) -> float:
    """The Clopper-Pearson upper bound of a share of which k of n were seen: P(X <= k) = `TAIL` at this share."""
    if k >= n:
        return 1.0
    if k > _EXACT:
        return min(1.0, k / n + _Z * math.sqrt(k * (n - k) / n) / n)
    seen = np.arange(k + 1, dtype=np.float64)
    choose = np.array([math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) for i in range(k + 1)])
    low, high = k / n, 1.0
    for _ in range(_STEPS):
        share = (low + high) / 2
        if share in (0.0, 1.0):
            break
        chance = np.exp(choose + seen * math.log(share) + (n - seen) * math.log1p(-share)).sum()
        low, high = (share, high) if chance > TAIL else (low, share)
    return high


def binomial_lower(k: int, n: int) -> float:
    """The Clopper-Pearson lower bound: that of the complement, turned round."""
    return 1.0 - binomial_upper(n - k, n)


@dataclass(frozen=True, slots=True)
class ChangedOrders:
    """How many of `n` comparisons the first of two scorers orders better, and worse, than the second."""

    won: int
    lost: int
    n: int

    @classmethod
    def of(cls, difference: Floats) -> "ChangedOrders":
        """The counts of accuracies that were subtracted, one per comparison."""
        return cls(int((difference > 0).sum()), int((difference < 0).sum()), len(difference))

    @property
    def changed(self) -> int:
        """Comparisons that the two scorers order differently."""
        return self.won + self.lost

    def high(self) -> float:
        """A gain above this is ruled out: at most so many comparisons change, and at most so many of them are won."""
        return _largest(binomial_upper(self.won, self.changed) if self.changed else 1.0, self)

    def low(self) -> float:
        """A gain below this is ruled out."""
        return -_largest(binomial_upper(self.lost, self.changed) if self.changed else 1.0, self)

    def more_for(self, matters: float) -> int:
        """How many more comparisons with the same shares would put a bound past 0 or the high one below `matters`."""
        scale = 1.0
        while self.n * scale < _MOST:
            larger = ChangedOrders(round(self.won * scale), round(self.lost * scale), round(self.n * scale))
            if larger.low() > 0 or larger.high() < matters:
                break
            scale *= 1.25
        return round(self.n * (scale - 1))


def _largest(share: float, orders: ChangedOrders) -> float:
    """q (2 t - 1) at the largest t, with the q that makes it largest."""
    shift = 2 * share - 1
    bound = binomial_upper if shift > 0 else binomial_lower
    return bound(orders.changed, orders.n) * shift
