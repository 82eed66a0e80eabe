"""The rules of Algorithm 1 (paper, sections 4.1 and 4.2) on levels and directions: pure functions without a draw."""

from collections.abc import Sequence

import numpy as np

from persona_rm.errors import DataError
from persona_rm.space import PreferenceSpace
from persona_rm.types import MIDDLE, Comment, Directions, Levels


def contrast(chosen: Levels, rejected: Levels) -> Directions:
    """Stronger is positive, weaker negative, equal neutral (paper, section 4.1 (3))."""
    return tuple((a > b) - (a < b) for a, b in zip(chosen, rejected, strict=True))


def lone(levels: Levels) -> Directions:
    """The direction of a response alone: its level above, at or below the middle (paper, section 4.2)."""
    return contrast(levels, (MIDDLE,) * len(levels))


def levels_of(comment: Comment) -> Levels:
    """The comment's levels. Raises DataError if it was not annotated."""
    if comment.levels is None:
        raise DataError(f"comment {comment.id!r} carries no levels: annotate before pairing")
    return comment.levels


def majority(votes: Sequence[Directions]) -> Directions:
    """The most frequent direction per dimension; a tie is neutral."""
    if not votes:
        raise DataError("a majority needs at least one vote")
    table = np.asarray(votes)
    counts = np.stack([(table == value).sum(0) for value in (-1, 0, 1)])
    winners = counts == counts.max(0)
    return tuple(int(v) for v in np.where(winners.sum(0) > 1, 0, winners.argmax(0) - 1))


def consistent(directions: Directions, items: Sequence[Directions]) -> list[int]:
    """Dimensions on which the pair is not neutral and all items point its way (paper, section 4)."""
    return [d for d, way in enumerate(directions) if way and all(item[d] == way for item in items)]


def demo(directions: Directions, space: PreferenceSpace) -> str:
    """ "A person who is outgoing and likes sports, but does not mind disorder.": directions as a description."""
    positive, negative = list[str](), list[str]()
    for dimension, way in zip(space.dimensions, directions, strict=True):
        if way > 0:
            positive.append(dimension.positive.wording)
        elif way < 0:
            negative.append(dimension.negative.wording)
    return f"A person who {', but '.join(_listed(part) for part in (positive, negative) if part)}."


def _listed(parts: list[str]) -> str:
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else "".join(parts)
