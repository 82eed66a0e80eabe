"""`given`: the intensities that the source itself knows (the embedded world does), or those plus a known error."""

import hashlib
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, ClassVar

from pydantic import field_validator

from persona_rm.annotators.base import Annotator
from persona_rm.backends.base import Backends
from persona_rm.config import Config
from persona_rm.errors import DataError, RecipeError
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment, Levels

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]


class GivenConfig(Config):
    """`confusion`: rows are the true level 1..3, columns the level read: one matrix, or one per dimension."""

    confusion: Matrix | tuple[Matrix, ...] | None = None
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

    def __init__(self, config: GivenConfig, space: PreferenceSpace, backends: Backends) -> None:
        super().__init__(config, space, backends)
        matrices = _matrices(config.confusion)
        if len(matrices) not in (0, 1, len(space)):
            raise RecipeError(f"`confusion` holds {len(matrices)} matrices; give one, or {len(space)}")
        self.matrices = matrices * len(space) if len(matrices) == 1 else matrices

    def annotate(self, prompts: Sequence[str], comments: Sequence[Comment]) -> list[Levels]:
        """The levels that came with the comments. Raises `DataError` naming the comment that has none."""
        return [self._corrupt(comment.id, self._checked(comment)) for comment in comments]

    def _checked(self, comment: Comment) -> Levels:
        levels = comment.levels
        if levels is None:
            raise DataError(f"comment {comment.id!r} carries no levels; use another annotator (e.g. encoder)")
        if len(levels) != len(self.space) or not {*levels} <= {1, 2, 3}:
            found = f"{len(levels)} values, distinct {sorted({*levels})}"
            raise DataError(f"comment {comment.id!r} needs {len(self.space)} levels in 1..3, found {found}")
        return levels

    def _corrupt(self, id: str, levels: Levels) -> Levels:
        if not self.matrices:
            return levels
        draws = (_uniform(self.config.seed, id, name) for name in self.space.ids)
        return tuple(_draw(m[level - 1], u) for level, m, u in zip(levels, self.matrices, draws, strict=True))


def _matrices(value: Any) -> tuple[Matrix, ...]:
    if not value:
        return ()
    return (value,) if isinstance(value[0][0], int | float) else tuple(value)


def _uniform(seed: int, id: str, dimension: str) -> float:
    """A number in [0, 1) that depends on nothing but its arguments."""
    digest = hashlib.blake2b(f"{seed}\x1f{id}\x1f{dimension}".encode(), digest_size=8).digest()
    return float(Fraction(int.from_bytes(digest) >> 11, 1 << 53))


def _draw(row: Sequence[float], u: float) -> int:
    return 1 if u < row[0] else 2 if u < row[0] + row[1] else 3
