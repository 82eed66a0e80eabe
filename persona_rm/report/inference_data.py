"""What <run>/inference/inference.json says: every part is optional, keys not named here are ignored.

An `Interval` is [value, low, high], the ends of a 95 % interval; it is null where nothing could be divided by.
"""

import math
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, field_validator

from persona_rm.errors import DataError

Interval = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
Bin = tuple[FiniteFloat, FiniteFloat, int]
"""Mean probability, share that was right, how many."""


class ReportPart(BaseModel):
    """A frozen piece of the file."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class About(ReportPart):
    """Whose preferences were inferred, from how many items; `fit`: what the posterior was learned from."""

    users: int | None = None
    items: int | None = None
    world: str = ""
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
    """`held`: share of people with a view; `error_rate`: how often the annotator claims one that is not there."""

    dimension: str
    inferrer: str
    held: FiniteFloat
    precision: FiniteFloat | None = None
    recall: FiniteFloat | None = None
    error_rate: FiniteFloat | None = None


class ErrorRate(ReportPart):
    """The annotator's rate of false claims: as it is, and as it was estimated without labels."""

    dimension: str
    source: str
    true: FiniteFloat
    estimated: FiniteFloat


class Measured(ReportPart):
    """One row of a dot chart or table; `world` and `what` group rows."""

    name: str
    value: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    n: int
    kind: Literal["best", "main", "control"] = "main"
    world: str = ""
    what: str = ""


class Gap(ReportPart):
    """Accuracy with golden, voted and inferred directions, and the share of the way that the last one goes."""

    closed: Interval
    golden: FiniteFloat
    vote: FiniteFloat
    posterior: FiniteFloat


class AskingFigures(ReportPart):
    """Accuracy after some questions; `how` they were chosen."""

    world: str
    how: str
    questions: int
    accuracy: Interval


class Observed(ReportPart):
    """Accuracy from observed items of the same people."""

    world: str
    items: int
    accuracy: Interval


class TraitRate(ReportPart):
    """On real text: how often the annotator is right where it speaks, how often silent, its calibration error."""

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


def parse(found: Mapping[str, Any], file: object = None) -> Inferred:
    """Raises `DataError` naming file and key of what is missing, of another type, or not finite."""
    try:
        return Inferred.model_validate(found)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(map(str, problem["loc"]))
        said = f"{problem['msg']}; make the inference stage again"
        raise DataError(said, file=file, key=key) from error
