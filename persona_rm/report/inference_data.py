"""The content of <run>/inference/inference.json. Every part is optional, and unknown keys are ignored.

An `Interval` is [value, low, high] with the ends of a 95 % interval. It is null if its denominator is zero. A
`population` is the kind of simulated users that were measured, such as "clusters".
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator

from persona_rm.errors import DataError

Interval = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
Bin = tuple[FiniteFloat, FiniteFloat, int]
"""The mean probability of a bin, the share that was right, and the number of cases."""


class ReportPart(BaseModel):
    """A frozen part of the file."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class About(ReportPart):
    """The users whose preferences were inferred, their items, and in `fit` what the posterior was learned from."""

    users: int | None = None
    items: int | None = None
    population: str = ""
    fit: Mapping[str, Any] = Field(default_factory=dict)

    @field_validator("fit")
    @classmethod
    def _finite(cls, fit: Mapping[str, Any]) -> Mapping[str, Any]:
        bad = [key for key, value in fit.items() if isinstance(value, float) and not math.isfinite(value)]
        if bad:
            raise ValueError(f"{', '.join(bad)} must be finite")
        return fit


class Direction(ReportPart):
    """One row of Table 12."""

    inferrer: str
    label: str = Field(alias="class")
    precision: Interval | None = None
    recall: Interval | None = None


class Reliability(ReportPart):
    """`inferrer`: "vote", or "posterior, before" and "posterior, after" calibration."""

    inferrer: str
    ece: FiniteFloat
    bins: tuple[Bin, ...] = ()


class ByItems(ReportPart):
    """Accuracy of ordering held-out choices from `n` items."""

    inferrer: str
    n: int
    accuracy: Interval


class DimensionFigures(ReportPart):
    """`held` is the share of users with a view, `error_rate` how often the annotator claims one that is not there."""

    dimension: str
    inferrer: str
    held: FiniteFloat
    precision: FiniteFloat | None = None
    recall: FiniteFloat | None = None
    error_rate: FiniteFloat | None = None


class ErrorRate(ReportPart):
    """The annotator's rate of false claims: the true rate, and the one that was estimated without labels."""

    dimension: str
    source: str
    true: FiniteFloat
    estimated: FiniteFloat


class Measured(ReportPart):
    """One row of a dot chart or table; `population` and `what` group rows."""

    name: str
    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    n: int
    kind: Literal["best", "main", "control"] = "main"
    population: str = ""
    what: str = ""


class Gap(ReportPart):
    """Accuracy with golden, voted and inferred directions, and the share of the gap that inference closes."""

    closed: Interval
    golden: FiniteFloat
    vote: FiniteFloat
    posterior: FiniteFloat


class AskingFigures(ReportPart):
    """Accuracy after a number of questions; `how` says by what rule they were chosen."""

    population: str
    how: str
    questions: int
    accuracy: Interval


class Observed(ReportPart):
    """Accuracy from observed items of the same users."""

    population: str
    items: int
    accuracy: Interval


class TraitRate(ReportPart):
    """On real text: how often the annotator is right if it answers, how often it does not, its calibration error."""

    trait: str
    accuracy: FiniteFloat
    silent: FiniteFloat
    ece: FiniteFloat
    n: int


class Inferred(ReportPart):
    """The whole file."""

    about: About = About()
    table: tuple[Direction, ...] = ()
    calibration: tuple[Reliability, ...] = ()
    by_items: tuple[ByItems, ...] = ()
    dimensions: tuple[DimensionFigures, ...] = ()
    errors: tuple[ErrorRate, ...] = ()
    alignment: tuple[Measured, ...] = ()
    gap: Gap | None = None
    asking: tuple[AskingFigures, ...] = ()
    observed: tuple[Observed, ...] = ()
    memory: tuple[Measured, ...] = ()
    tastes: tuple[Measured, ...] = ()
    prior: tuple[Measured, ...] = ()
    real: tuple[Measured, ...] = ()
    real_rates: tuple[TraitRate, ...] = ()


def parse(content: Mapping[str, Any], file: object = None) -> Inferred:
    """The parsed file. Raises `DataError` naming file and key of a value that is missing, mistyped or not finite."""
    try:
        return Inferred.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        raise DataError(f"{problem['msg']}; run the inference stage again", file=file, key=key) from error
