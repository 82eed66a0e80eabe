"""The error rates of an annotator, measured on labelled statements.

The statements (`fit.read_statements`: what people with a trait would or would not say, Perez et al. 2022) say which
pole is meant, never that a text cannot reflect a dimension. So errors are known for the true levels 1 and 3 alone, and
the row of the true level 2 is None. Only the half is read that no threshold was fitted on (`Statement.fits` is False).
A statement says its trait openly and is about nothing else: on real comments expect more errors and more silence.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from persona_rm.annotators.base import Annotator, Reading
from persona_rm.annotators.fit import TRAITS, Statement
from persona_rm.errors import DataError
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment

LevelCounts = tuple[int, int, int]
RateRow = tuple[float, float, float]
ConfusionMatrix = tuple[RateRow | None, RateRow | None, RateRow | None]
SILENT = 2


@dataclass(frozen=True, slots=True)
class TraitRates:
    """One trait. A figure about what was read is NaN where nothing was read.

    `counts` has how often level 1, 2, 3 was read, for statements that do not match the trait and for those that do;
    `sign` is the direction of a matching statement on `dimension`, so with -1 the right level for one is 1. `n` texts
    were read, `failed` ones gave an error. The share `silent` of the n got level 2, and `right` of the others the
    right side. `calibration` is the expected calibration error (Guo et al. 2017, eq. 3) and `brier` the mean squared
    error of `Reading.confidence`, taken as the probability that the side of a level other than 2 is right.
    """

    trait: str
    dimension: str
    sign: int
    n: int
    failed: int
    counts: tuple[LevelCounts, LevelCounts]
    silent: float
    right: float
    calibration: float
    brier: float


def error_rates(
    statements: Sequence[Statement], annotator: Annotator, space: PreferenceSpace, bins: int = 10
) -> list[TraitRates]:
    """Rates of every trait that is a dimension of the space, on the half of the statements that checks.

    Every statement is read once, in one call, under an empty post. Raises DataError if none is left to read.
    """
    checks = [s for s in statements if not s.fits and TRAITS.get(s.trait, ("", 0))[0] in space.ids]
    if not checks:
        raise DataError(
            f"no statement to check on: {len(statements)} given, but none of the checking half is about "
            f"{', '.join(TRAITS)} in space {space.name!r}"
        )
    # The post is empty, because a statement answers none.
    comments = [Comment(f"{s.trait}/{i}", s.text) for i, s in enumerate(checks)]
    readings: dict[str, list[tuple[Statement, Reading]]] = defaultdict(list)
    for statement, reading in zip(checks, annotator.read([""] * len(checks), comments), strict=True):
        readings[statement.trait].append((statement, reading))
    return [_rates(trait, readings[trait], space, bins) for trait in TRAITS if trait in readings]


def confusion(rates: Sequence[TraitRates]) -> dict[str, ConfusionMatrix]:
    """Dimension -> P(level read | true level): rows are the true levels 1, 2, 3, columns the level read.

    The second row is None: statements do not tell when a text cannot reflect a dimension. So is a row without
    statements. Traits of one dimension are pooled.
    """
    counts: dict[str, npt.NDArray[np.int64]] = defaultdict(lambda: np.zeros((3, 3), np.int64))
    for one in rates:
        for matches, row in enumerate(one.counts):
            counts[one.dimension][_true_level(one.sign, bool(matches)) - 1] += row
    return {dimension: (_shares(n[0]), None, _shares(n[2])) for dimension, n in counts.items()}


def calibration_error(confidence: npt.ArrayLike, right: npt.ArrayLike, bins: int = 10) -> float:
    """Expected calibration error: the mean of |share right - mean confidence| over equal bins of 0 to 1, by their
    number of cases. NaN without cases."""
    sure, hit = np.asarray(confidence, np.float64), np.asarray(right, np.float64)
    if not len(sure):
        return float("nan")
    # A confidence of 1 belongs to the last bin. The sum of (right - confidence) over a bin is its number of cases
    # times the gap, so the weights of the mean are in it already.
    place = np.minimum((sure * bins).astype(np.int64), bins - 1)
    return float(np.abs(np.bincount(place, hit - sure, minlength=bins)).sum() / len(sure))


def _true_level(sign: int, matches: bool) -> int:
    return SILENT + (sign if matches else -sign)


def _rates(trait: str, readings: Sequence[tuple[Statement, Reading]], space: PreferenceSpace, bins: int) -> TraitRates:
    id_, sign = TRAITS[trait]
    at, good = space.index(id_), [(statement.matches, reading) for statement, reading in readings if not reading.error]
    counts = np.zeros((2, 3), np.int64)
    for matches, reading in good:
        counts[int(matches), reading.levels[at] - 1] += 1
    # Silence is counted apart, because it is neither right nor wrong.
    spoken = [(matches, reading) for matches, reading in good if reading.levels[at] != SILENT]
    right = np.array([reading.levels[at] == _true_level(sign, matches) for matches, reading in spoken], np.float64)
    sure = np.array([reading.confidence[at] for _, reading in spoken], np.float64)
    no, yes = ((int(a), int(b), int(c)) for a, b, c in counts)
    brier, silent = _mean((sure - right) ** 2), 1 - len(spoken) / len(good) if good else float("nan")
    ece = calibration_error(sure, right, bins)
    failed = len(readings) - len(good)
    return TraitRates(trait, id_, sign, len(good), failed, (no, yes), silent, _mean(right), ece, brier)


def _mean(values: npt.NDArray[np.float64]) -> float:
    return float(values.mean()) if len(values) else float("nan")


def _shares(counts: npt.NDArray[np.int64]) -> RateRow | None:
    a, b, c = (int(value) for value in counts)
    total = a + b + c
    return (a / total, b / total, c / total) if total else None
