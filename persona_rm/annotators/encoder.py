"""`encoder`: reads intensities on a CPU, by the similarity of a text to descriptions of both poles.

Two numbers per dimension, from the unit vector v of a text and the descriptions of the poles (the space's YAML):
relevance = v . (mean positive + mean negative) / 2: is the text about this at all?
contrast  = v . (mean positive - mean negative + weight * shared), where `shared` is the mean difference over all
dimensions with the same two answers ("Likes"/"Dislikes"): an encoder sees topics better than polarity, and the shared
direction is polarity without topic.
A text below the relevance gate cannot reflect the dimension (level 2); above it, the contrast says 3, 1 or, between
its two thresholds, 2. Both numbers are standardised by what real comments get (`encoder_thresholds.yaml`, made by
`persona-rm fit-annotator`). A dimension which that file lacks takes the pooled values.

Confidence is 1 / (1 + exp(-m)), m being how many spreads relevance or contrast would have to move for another level:
0.5 at a threshold, towards 1 away from it. It ranks readings; it is not calibrated and is no probability.
Variant 1 asks in other words: the first, third, ... description of each pole alone makes the directions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from persona_rm.annotators.base import Annotator, Reading
from persona_rm.backends.base import Encoder, Vectors
from persona_rm.backends.minilm import products
from persona_rm.config import Config, PathText
from persona_rm.errors import DataError
from persona_rm.io.yaml_file import read_yaml
from persona_rm.maths import sigmoids
from persona_rm.space import Dimension, PreferenceSpace
from persona_rm.types import Comment

PACKAGED = Path(__file__).with_name("encoder_thresholds.yaml")
Floats = npt.NDArray[np.float64]


class DimensionThresholds(Config):
    """Standardisation of one dimension: what real comments get (mean, spread), and where the contrast changes sign."""

    relevance: tuple[float, float]
    spread: float
    zero: float
    """The contrast at which a relevant text is as likely at either pole."""


class Thresholds(Config):
    """The fitted file. `gate` and `band` are in spreads."""

    about: str = ""
    gate: float
    band: float
    weights: dict[str, float]
    """Weight of the shared direction, by answers ("Likes/Dislikes")."""
    pooled: DimensionThresholds
    dimensions: dict[str, DimensionThresholds]


class EncoderConfig(Config):
    """`gate` and `band` override the fitted ones: a higher gate reads fewer levels, a wider band surer ones."""

    thresholds: PathText | None = None
    """Another fitted file; None is the packaged one."""
    gate: float | None = None
    band: float | None = None


@dataclass(frozen=True, slots=True)
class Axes:
    """Directions in the encoder's space, each (D, dim)."""

    relevance: Vectors
    contrast: Vectors


class EncoderAnnotator(Annotator):
    """Levels from pole descriptions; the post is not read, as the question is what the comment alone reflects."""

    name: ClassVar[str] = "encoder"
    Config: ClassVar[type[Config]] = EncoderConfig

    @cached_property
    def thresholds(self) -> Thresholds:
        """The fitted file. Raises DataError if it is missing or malformed."""
        return read_thresholds(Path(self.config.thresholds) if self.config.thresholds else PACKAGED)

    @cached_property
    def _axes(self) -> tuple[Axes, Axes]:
        """The directions of variants 0 and 1."""
        encoder, weights = self.backends.need_encoder("annotator encoder"), self.thresholds.weights
        return axes(self.space, encoder, weights), axes(self.space, encoder, weights, step=2)

    def read(self, prompts: Sequence[str], comments: Sequence[Comment], variant: int = 0) -> list[Reading]:
        """Levels and confidences per comment. One without text is neutral, and is not encoded."""
        self.check(prompts, comments, variant)
        # Blank comments are not encoded, and get their error when the readings are put in place below.
        texts = [comment.text for comment in comments if comment.text.strip()]
        readings = iter(self._read(texts, variant) if texts else ())
        return [next(readings) if comment.text.strip() else self.neutral for comment in comments]

    def _read(self, texts: Sequence[str], variant: int) -> list[Reading]:
        vectors = self.backends.need_encoder("annotator encoder").encode(texts)
        fitted = self.thresholds
        gate = fitted.gate if self.config.gate is None else self.config.gate
        band = fitted.band if self.config.band is None else self.config.band
        levels, margin = read_margins(vectors, self._axes[variant], columns(fitted, self.space.ids), gate, band)
        # At 30 the confidence is 1 to 13 digits; a larger margin would only be more of the same.
        sure = sigmoids(np.minimum(margin, 30))
        return [Reading(tuple(a), tuple(b)) for a, b in zip(levels.tolist(), sure.tolist(), strict=True)]

    def contrasts(self, prompts: Sequence[str], texts: Sequence[str]) -> Vectors:
        """The standardised contrast of each text on each dimension, shape (n, D), float32: the number behind the
        level, without the gate of relevance. A text without words has 0 everywhere."""
        rows = np.zeros((len(texts), len(self.space)), np.float32)
        if spoken := [i for i, text in enumerate(texts) if text.strip()]:
            vectors = self.backends.need_encoder("annotator encoder").encode([texts[i] for i in spoken])
            _, _, zero, width = columns(self.thresholds, self.space.ids)
            rows[spoken] = (products(vectors, self._axes[0].contrast) - zero) / width
        return rows


def answers(dimension: Dimension) -> str:
    """ "Likes/Dislikes": dimensions with the same answers share a polarity direction."""
    return f"{dimension.positive.answer}/{dimension.negative.answer}"


def axes(space: PreferenceSpace, encoder: Encoder, weights: dict[str, float], step: int = 1) -> Axes:
    """Relevance and contrast directions of every dimension, from each `step`-th description of its poles."""
    positive = _means(encoder, [dimension.positive.descriptions[::step] for dimension in space.dimensions])
    negative = _means(encoder, [dimension.negative.descriptions[::step] for dimension in space.dimensions])
    difference = positive - negative
    kinds = np.array([answers(dimension) for dimension in space.dimensions])
    # Topics differ between the dimensions of one kind and average out; what is left is the polarity.
    shared = np.stack([difference[kinds == kind].mean(0) for kind in kinds]).astype(np.float32)
    # Answers that the fit has not seen get no shared direction.
    weight = np.array([weights.get(kind, 0.0) for kind in kinds], np.float32)[:, None]
    return Axes((positive + negative) / np.float32(2), difference + weight * shared)


def _means(encoder: Encoder, texts: Sequence[Sequence[str]]) -> Vectors:
    flat = encoder.encode([text for group in texts for text in group])
    ends = np.cumsum([len(group) for group in texts])[:-1]
    return np.stack([group.mean(0) for group in np.split(flat, ends)]).astype(np.float32)


def columns(fitted: Thresholds, ids: Sequence[str]) -> tuple[Floats, Floats, Floats, Floats]:
    """(mean relevance, its spread, zero of the contrast, its spread), each (D,)."""
    rows = [fitted.dimensions.get(id, fitted.pooled) for id in ids]
    table = np.array([(*row.relevance, row.zero, row.spread) for row in rows], np.float64)
    return table[:, 0], table[:, 1], table[:, 2], table[:, 3]


def read_levels(
    vectors: Vectors, axes: Axes, fitted: tuple[Floats, Floats, Floats, Floats], gate: float, band: float
) -> npt.NDArray[np.int64]:
    """Levels 1..3, shape (n, D); `fitted` as `columns` gives it."""
    return read_margins(vectors, axes, fitted, gate, band)[0]


def read_margins(
    vectors: Vectors, axes: Axes, fitted: tuple[Floats, Floats, Floats, Floats], gate: float, band: float
) -> tuple[npt.NDArray[np.int64], Floats]:
    """Levels 1..3 and how far each is from another level, in spreads (0 or more); each (n, D)."""
    mean, spread, zero, width = fitted
    relevance = (products(vectors, axes.relevance) - mean) / spread
    contrast = (products(vectors, axes.contrast) - zero) / width
    # The level is 1 or 3 if two excesses are above 0: relevance over the gate, and contrast over the band. It changes
    # when the smaller excess is used up. Level 2 changes only when the larger deficit is made up. Either distance is
    # the absolute value of the minimum.
    signs = (contrast > band).astype(np.int64) - (contrast < -band)
    return 2 + (relevance > gate) * signs, np.abs(np.minimum(relevance - gate, np.abs(contrast) - band))


def read_thresholds(path: Path) -> Thresholds:
    """The fitted file at `path`. Raises DataError."""
    if not path.is_file():
        raise DataError("no fitted thresholds here; make them with `persona-rm fit-annotator`", file=path)
    data: Any = read_yaml(path)
    try:
        return Thresholds.model_validate(data)
    except ValueError as error:
        raise DataError(f"these are no fitted thresholds: {error}", file=path) from error
