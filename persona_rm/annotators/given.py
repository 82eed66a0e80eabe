"""`given`: the intensities that the source itself knows (as the simulator does), or those plus a known error."""

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

from pydantic import field_validator

from persona_rm.annotators.base import Annotator, Reading
from persona_rm.backends.base import Backends
from persona_rm.config import Config
from persona_rm.errors import RecipeError
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment

ErrorMatrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]


class GivenConfig(Config):
    """`confusion`: rows are the true level 1..3, columns the level read: one matrix, or one per dimension."""

    confusion: ErrorMatrix | tuple[ErrorMatrix, ...] | None = None
    seed: int = 0

    @field_validator("confusion")
    @classmethod
    def _stochastic(cls, value: Any) -> Any:
        for matrix in _matrices(value):
            for row in matrix:
                if min(row) < 0 or abs(sum(row) - 1) > 1e-6:
                    raise ValueError(f"a row of `confusion` is a distribution over levels 1..3; {list(row)} is not")
        return value


class GivenAnnotator(Annotator):
    """Reads `Comment.levels`. `confusion` corrupts each, always the same way for a seed, comment id and dimension."""

    name: ClassVar[str] = "given"
    Config: ClassVar[type[Config]] = GivenConfig
    reads_text: ClassVar[bool] = False

    def __init__(self, config: GivenConfig, space: PreferenceSpace, backends: Backends) -> None:
        super().__init__(config, space, backends)
        matrices = _matrices(config.confusion)
        if len(matrices) not in (0, 1, len(space)):
            raise RecipeError(f"`confusion` holds {len(matrices)} matrices; give one, or {len(space)}")
        # One matrix for each dimension from here on, also if the recipe gives one for all.
        self.matrices = matrices * len(space) if len(matrices) == 1 else matrices

    def read(self, prompts: Sequence[str], comments: Sequence[Comment], variant: int = 0) -> list[Reading]:
        """The levels that came with the comments. With a confusion matrix variant 1 is a second, independent draw.

        Confidence: 1, or P(true level = read level | read level) with equal prior
        probabilities of the true levels; it does not use the true level.
        """
        self.check(prompts, comments, variant)
        return [self._read(comment, variant) for comment in comments]

    def _read(self, comment: Comment, variant: int) -> Reading:
        levels, wanted = comment.levels, len(self.space)
        if levels is None:
            return Reading(error="carries no levels; use another annotator (e.g. encoder)")
        if len(levels) != wanted or not {*levels} <= {1, 2, 3}:
            return Reading(error=f"needs {wanted} levels in 1..3")
        if not self.matrices:
            return Reading(tuple(levels), (1.0,) * wanted)
        # Variant 0 has the plain seed, and variant 1 another one: the two readings err independently.
        seed = f"{self.config.seed}/{variant}" if variant else f"{self.config.seed}"
        draws = (_uniform(seed, comment.id, name) for name in self.space.ids)
        read = tuple(_draw(m[level - 1], u) for level, m, u in zip(levels, self.matrices, draws, strict=True))
        return Reading(read, tuple(_posterior(m, level) for m, level in zip(self.matrices, read, strict=True)))


def _matrices(value: Any) -> tuple[ErrorMatrix, ...]:
    if not value:
        return ()
    return (value,) if isinstance(value[0][0], int | float) else tuple(value)


def _uniform(seed: str, id: str, dimension: str) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.blake2b(f"{seed}\x1f{id}\x1f{dimension}".encode(), digest_size=8).digest()
    # 53 bits are a float64 without rounding, so the draw is below 1 and the same on every machine.
    return float(Fraction(int.from_bytes(digest) >> 11, 1 << 53))


def _draw(row: Sequence[float], u: float) -> int:
    return 1 if u < row[0] else 2 if u < row[0] + row[1] else 3


def _posterior(matrix: ErrorMatrix, read: int) -> float:
    """P(true = read | read) under equal priors; 0 for a level that the matrix never reads (rounding of a row)."""
    column = [row[read - 1] for row in matrix]
    return column[read - 1] / sum(column) if sum(column) else 0.0
