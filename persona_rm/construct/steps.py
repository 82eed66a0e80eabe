"""What happens to one thread: pure functions of a row. Every draw depends on (seed, row id) and on nothing else."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import product

import numpy as np
import numpy.typing as npt

from persona_rm.construct.config import ConstructConfig
from persona_rm.construct.search import seeded
from persona_rm.errors import DataError
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment, Directions, Levels, Thread

LEVELS = 3
MIDDLE = 2
EXACT = 8
"""Up to so many points the best clustering is found by trying all."""
STARTS = 8
ROUNDS = 50
REMOVED = frozenset({"[deleted]", "[removed]", "[deleted by user]", "[removed by moderator]"})
Floats = npt.NDArray[np.float64]
Labels = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Drop:
    """A row that did not go on, and why. `what`: post, response, pair or example."""

    what: str
    id: str
    reason: str


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


def one_hot(levels: Sequence[Levels]) -> Floats:
    """Intensity embeddings (paper, section 4.1 (2)): levels 1..3, (n, D) -> (n, 3 D)."""
    array = np.asarray(levels, np.int64)
    return np.eye(LEVELS)[array - 1].reshape(len(array), -1)


def cluster(levels: Sequence[Levels], k: int, seed: int, row_id: str) -> Labels:
    """K-means over one-hot levels: a cluster number per response, 0 the first response's.

    There are at most as many clusters as distinct responses, and none is empty. Up to `EXACT` responses the optimum is
    found by trying every partition, so no seed matters; above, Lloyd's algorithm from `STARTS` seeded starts.
    """
    if not levels:
        return ()
    k = min(k, len(set(levels)))
    if k == 1:
        return (0,) * len(levels)
    points = one_hot(levels)
    if len(levels) <= EXACT:
        return _best_partition(points @ points.T, k)
    return _lloyd(points, k, seeded(seed, row_id, "cluster"))


@cache
def _partitions(n: int, k: int) -> tuple[list[Labels], Floats]:
    """Every split of n points into exactly k parts, as labels and as membership, (P, k, n)."""
    rows = [labels for labels in product(range(k), repeat=n) if _canonical(labels, k)]
    return rows, np.stack([np.equal.outer(np.arange(k), labels) for labels in rows]).astype(np.float64)


def _canonical(labels: Labels, k: int) -> bool:
    """True for one of the k! namings of a split: parts numbered as they appear, all of them used."""
    return list(dict.fromkeys(labels)) == list(range(k))


def _best_partition(gram: Floats, k: int) -> Labels:
    """Least inertia: with G = X X', that is the largest sum over clusters of (sum of G inside) / size."""
    rows, members = _partitions(len(gram), k)
    inside = np.einsum("pki,ij,pkj->pk", members, gram, members, optimize=True) / members.sum(2)
    return rows[int(np.argmax(np.round(inside.sum(1), 9)))]


def _lloyd(points: Floats, k: int, random: np.random.Generator) -> Labels:
    runs = [_descend(points, random.choice(np.unique(points, axis=0), k, replace=False)) for _ in range(STARTS)]
    labels = min(runs, key=lambda run: run[1])[0]
    names = {label: number for number, label in enumerate(dict.fromkeys(labels.tolist()))}
    return tuple(names[label] for label in labels.tolist())


def _descend(points: Floats, centres: Floats) -> tuple[npt.NDArray[np.int64], float]:
    """Lloyd from given centres: labels and inertia. An empty cluster takes the point farthest from its centre."""
    labels = np.full(len(points), -1)
    for _ in range(ROUNDS):
        distances = ((points[:, None] - centres) ** 2).sum(2)
        fresh = distances.argmin(1)
        for empty in set(range(len(centres))) - set(fresh.tolist()):
            alone = np.bincount(fresh, minlength=len(centres))[fresh] == 1
            fresh[np.where(alone, -1.0, distances[np.arange(len(points)), fresh]).argmax()] = empty
        if (fresh == labels).all():
            break
        labels = fresh
        centres = np.stack([points[labels == c].mean(0) for c in range(len(centres))])
    return labels, float(((points - centres[labels]) ** 2).sum())


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
