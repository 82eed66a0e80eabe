"""Running statistics: one pass, constant memory each, as plain numbers in JSON.

Means and variances by Welford (1962, Technometrics 4:419); variances are those of the population (divided by n). With
a `memory` of m the count stops at m: from then on each new value has the weight 1/m.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from persona_rm.errors import DataError

TINY = 1e-8
"""A standard deviation below this share of the mean's size (or of 1) is rounding."""


@dataclass(frozen=True, slots=True)
class Running:
    """Count, mean and variance of the values so far."""

    count: int = 0
    mean: float = 0.0
    var: float = 0.0

    @property
    def std(self) -> float:
        """0 if all values are equal but for rounding."""
        std = math.sqrt(max(self.var, 0.0))
        return std if std > TINY * max(1.0, abs(self.mean)) else 0.0

    def plus(self, value: float, memory: int | None = None) -> "Running":
        """The statistics with one value more."""
        count = self.count + 1 if memory is None else min(self.count + 1, memory)
        # One deviation is from the old mean and one from the new one. This makes the recursion exact while `count`
        # grows, and it needs no sum of squares, in which digits would cancel.
        mean = self.mean + (value - self.mean) / count
        return Running(count, mean, self.var + ((value - self.mean) * (value - mean) - self.var) / count)

    def toward(self, other: "Running", weight: float) -> "Running":
        """Mean and variance as if `weight` values of `other`'s had been seen too, each shrunk by itself."""
        # The more samples a user has, the less the others count.
        own = self.count / (self.count + weight)
        mean, var = own * self.mean + (1 - own) * other.mean, own * self.var + (1 - own) * other.var
        return Running(self.count, mean, var)

    def standardise(self, value: float) -> float:
        """In standard deviations from the mean. If all values were equal, only the distance from it."""
        return (value - self.mean) / (self.std or 1.0)

    def to_json(self) -> list[float]:
        """[count, mean, variance]."""
        return [self.count, self.mean, self.var]

    @classmethod
    def from_json(cls, given: object) -> Self:
        """The inverse. Raises `DataError` for what is no such list."""
        count, mean, var = _numbers(given, 3)
        if count < 0 or count != int(count) or var < 0:
            raise DataError("a count of samples is a whole number from 0 on, and no variance is negative")
        return cls(int(count), mean, var)


@dataclass(frozen=True, slots=True)
class Joint:
    """Two variables that come in pairs."""

    x: Running = Running()
    y: Running = Running()
    cov: float = 0.0

    def plus(self, x: float, y: float, memory: int | None = None) -> "Joint":
        """The statistics with one pair more."""
        new_x, new_y = self.x.plus(x, memory), self.y.plus(y, memory)
        # As for a variance: x from its old mean, y from its new one.
        cov = self.cov + ((x - self.x.mean) * (y - new_y.mean) - self.cov) / new_x.count
        return Joint(new_x, new_y, cov)

    @property
    def r2(self) -> float:
        """The share of either's variance that a line on the other explains; 0 if one does not vary."""
        if not (self.x.std and self.y.std):
            return 0.0
        correlation = self.cov / self.x.std / self.y.std
        # Rounding may give slightly more than 1.
        return min(correlation * correlation, 1.0)

    def to_json(self) -> list[Any]:
        """[x, y, covariance]."""
        return [self.x.to_json(), self.y.to_json(), self.cov]

    @classmethod
    def from_json(cls, given: object) -> Self:
        """The inverse. Raises `DataError` for what is no such list."""
        if not isinstance(given, Sequence) or len(given) != 3:
            raise DataError("joint statistics are [x, y, covariance]")
        return cls(Running.from_json(given[0]), Running.from_json(given[1]), *_numbers([given[2]], 1))


class RunningTable:
    """Statistics of users (or groups), at most `capacity`; the one that was not seen for longest leaves first."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.dropped = capacity, 0
        self._rows: OrderedDict[str, Running] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def get(self, key: str | None) -> Running:
        """Empty statistics for a key that is not in the table, and for None."""
        return self._rows.get(key, Running()) if key is not None else Running()

    def add(self, key: str | None, value: float, memory: int | None = None) -> Running:
        """The user's statistics with one value more; those of None are not kept."""
        new = self.get(key).plus(value, memory)
        if key is None:
            return Running()
        self._rows[key] = new
        # The order of the table is that of the last sample, so the first row is the one to drop.
        self._rows.move_to_end(key)
        if len(self._rows) > self.capacity:
            self._rows.popitem(last=False)
            self.dropped += 1
        return new

    def forget(self, key: str) -> None:
        """Remove this user's statistics."""
        self._rows.pop(key, None)

    def to_json(self) -> dict[str, list[float]]:
        """Key -> statistics, in the order in which the keys were last seen."""
        return {key: row.to_json() for key, row in self._rows.items()}

    @classmethod
    def from_json(cls, given: object, capacity: int) -> Self:
        """The inverse; of too many keys the last are kept. Raises `DataError`."""
        if not isinstance(given, Mapping):
            raise DataError("a table of statistics is a mapping from ids to [count, mean, variance]")
        table = cls(capacity)
        table._rows.update((str(key), Running.from_json(row)) for key, row in list(given.items())[-capacity:])
        return table


def _numbers(given: object, n: int) -> list[float]:
    """Exactly n finite numbers."""
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) != n:
        raise DataError(f"statistics are a list of {n} numbers")
    if not all(isinstance(v, int | float) and not isinstance(v, bool) and math.isfinite(v) for v in given):
        raise DataError(f"statistics are {n} finite numbers")
    return list(given)
