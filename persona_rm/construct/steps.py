"""What happens to one thread: pure functions of a row. Every draw depends on (seed, row id) and on nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from persona_rm.construct.clusters import cluster
from persona_rm.construct.config import ConstructConfig
from persona_rm.construct.search import seeded
from persona_rm.errors import DataError
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment, Directions, Drop, Levels, Thread

MIDDLE = 2
REMOVED = frozenset({"[deleted]", "[removed]", "[deleted by user]", "[removed by moderator]"})


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two responses of one post, from different clusters, and the direction that choosing the first shows."""

    post: str
    chosen: Comment
    rejected: Comment
    directions: Directions

    def mirrored(self) -> "LabelledPair":
        """What somebody of the opposite views chooses."""
        return LabelledPair(self.post, self.rejected, self.chosen, tuple(-d for d in self.directions))


def clean(thread: Thread, config: ConstructConfig) -> tuple[Thread | None, list[Drop]]:
    """The thread with its usable responses (None when none is left), and what was dropped.

    A post with one usable response gives no pair, but its response may be somebody's user-generated content.
    """
    if not thread.prompt.strip() or thread.prompt.strip().lower() in REMOVED:
        return None, [Drop("post", thread.id, "empty post"), *_all(thread, "under an empty post")]
    kept: list[Comment] = []
    drops: list[Drop] = []
    seen: set[str] = set()
    for comment in thread.comments:
        text = " ".join(comment.text.split()).casefold()
        if reason := unusable(text, config) or ("duplicate in its thread" if text in seen else ""):
            drops.append(Drop("response", comment.id, reason))
        else:
            kept.append(comment)
            seen.add(text)
    if not kept:
        return None, [*drops, Drop("post", thread.id, "no usable response" if thread.comments else "empty thread")]
    return replace(thread, comments=tuple(kept)), drops


def _all(thread: Thread, reason: str) -> list[Drop]:
    return [Drop("response", comment.id, reason) for comment in thread.comments]


def unusable(text: str, config: ConstructConfig) -> str:
    """Why a response cannot be used, or ""."""
    if text in REMOVED:
        return "deleted or removed"
    if len(text) < config.min_chars:
        return "too short"
    return "too long" if len(text) > config.max_chars else ""


def contrast(chosen: Levels, rejected: Levels) -> Directions:
    """Stronger is positive, weaker negative, equal neutral (paper, section 4.1 (3))."""
    return tuple((a > b) - (a < b) for a, b in zip(chosen, rejected, strict=True))


def lone(levels: Levels) -> Directions:
    """The direction of a response alone: its level above, at or below the middle (paper, section 4.2)."""
    return contrast(levels, (MIDDLE,) * len(levels))


def levels_of(comment: Comment) -> Levels:
    """The comment's levels. Raises `DataError` where it was not annotated."""
    if comment.levels is None:
        raise DataError(f"comment {comment.id!r} carries no levels: annotate before pairing")
    return comment.levels


def pair(thread: Thread, config: ConstructConfig, seed: int) -> LabelledPair | Drop:
    """One response from each of two different clusters, drawn uniformly, or the reason why there is none."""
    if len(thread.comments) < 2:
        return Drop("pair", thread.id, "fewer than two usable responses")
    levels = [levels_of(comment) for comment in thread.comments]
    labels = cluster(levels, config.n_clusters, seed, thread.id)
    if len(set(labels)) < 2:
        return Drop("pair", thread.id, "no contrast between the responses")
    random = seeded(seed, thread.id, "pair")
    drawn = random.choice(sorted(set(labels)), 2, replace=False)
    chosen, rejected = (random.choice([i for i, label in enumerate(labels) if label == c]) for c in drawn)
    directions = contrast(levels[chosen], levels[rejected])
    return LabelledPair(thread.prompt, thread.comments[chosen], thread.comments[rejected], directions)


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
    liked, other = (
        [pole.wording for d, way in zip(space.dimensions, directions, strict=True) if way == w and (pole := d.pole(w))]
        for w in (1, -1)
    )
    return f"A person who {', but '.join(part for part in (_listed(liked), _listed(other)) if part)}."


def _listed(parts: list[str]) -> str:
    return ", ".join(parts[:-1]) + " and " + parts[-1] if len(parts) > 1 else "".join(parts)
