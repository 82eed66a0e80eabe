"""K-means over the responses of a post (paper, section 4.1 (2)), many posts at once.

All distances follow from inner products of one-hot levels. These count matching dimensions: integers, exact in float32
in any order of summation (up to 2^24 / D responses), so that a post gets the same clusters alone and in any batch.
Up to `EXACT` responses every partition is tried and the seed does not matter. Above, Lloyd's algorithm runs from
`STARTS` k-means++ starts drawn from (seed, row id), on a post's Gram matrix or, above `GRAM` responses, on its rows.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from math import lcm

import numpy as np
import numpy.typing as npt

from persona_rm.construct.hashing import seeded
from persona_rm.types import Levels

LEVELS = 3
EXACT = 8
"""Up to this many responses all partitions are tried."""
STARTS = 10
ROUNDS = 50
GRAM = 256
"""Up to this many responses a Gram matrix costs less time and memory than the rows."""
CELLS = 1 << 21
"""Approximate number of elements of the arrays of a batch: bounds the memory."""
Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
LevelRows = npt.NDArray[np.uint8]
Product = Callable[[Singles], Singles]
Labels = tuple[int, ...]


def one_hot(levels: Sequence[Levels]) -> Floats:
    """Intensity embeddings (paper, section 4.1 (2)): levels 1..3, (n, D) -> (n, 3 D)."""
    array = np.asarray(levels, np.int64)
    return np.eye(LEVELS)[array - 1].reshape(len(array), -1)


def cluster(levels: Sequence[Levels], k: int, seed: int, row_id: str) -> Labels:
    """The clusters of one post, as `clusters` finds them."""
    return clusters([levels], k, seed, [row_id])[0]


def clusters(posts: Sequence[Sequence[Levels]], k: int, seed: int, row_ids: Sequence[str]) -> list[Labels]:
    """K-means over one-hot levels: for each post a cluster number per response, 0 the first response's.

    There are at most as many clusters as distinct responses, and none is empty.
    """
    labels_of: list[Labels] = [()] * len(posts)
    packed = [[bytes(levels) for levels in post] for post in posts]
    # Posts of equal shape (responses, dimensions, clusters) share their array operations.
    groups: dict[tuple[int, int, int], list[int]] = defaultdict(list)
    for number, post in enumerate(packed):
        if post:
            groups[len(post), len(post[0]), min(k, len(set(post)))].append(number)
    for (n, dimensions, parts), group in groups.items():
        for batch in _batches(group, n, dimensions):
            rows = np.frombuffer(b"".join(row for i in batch for row in packed[i]), np.uint8)
            rows = rows.reshape(len(batch), n, dimensions)
            if n <= EXACT or parts == 1:
                labels = _best_partitions(rows, parts)
            else:
                labels = _lloyd(rows, parts, [seeded(seed, row_ids[i], "cluster") for i in batch])
            for i, row in zip(batch, labels.tolist(), strict=True):
                labels_of[i] = tuple(row)
    return labels_of


def _batches(group: list[int], n: int, dimensions: int) -> Iterator[list[int]]:
    """Posts of n responses, as many at once as the bound of memory allows."""
    # The largest array of a post is its one-hot rows (n, 3 D) or its Gram matrix (n, n), which is made up to `GRAM`
    # responses only.
    size = max(1, CELLS // (n * max(LEVELS * dimensions, min(n, GRAM))))
    return (group[begin : begin + size] for begin in range(0, len(group), size))


def _hot(rows: LevelRows) -> Singles:
    """Levels (B, n, D) -> one-hot (B, n, 3 D), level by level, which leaves inner products as they are."""
    hot: Singles = np.concatenate([rows == level for level in range(1, LEVELS + 1)], 2).astype(np.float32)
    return hot


def _best_partitions(rows: LevelRows, k: int) -> Ints:
    """Labels (B, n) of least inertia: the largest sum over clusters of (inner products inside) / size.

    The inner product of a response with itself is D in every partition, so the pairs of different responses decide.
    """
    n = rows.shape[1]
    if k == 1:
        return np.zeros(rows.shape[:2], np.int64)
    labels, weights = _partitions(n, k)
    hot = _hot(rows)
    gram = hot @ hot.transpose(0, 2, 1)
    # (B, pairs of responses) @ (pairs, P) scores all P partitions of all posts. On a tie `argmax` takes the first of
    # them.
    left, right = np.triu_indices(n, 1)
    best: Ints = labels[(gram[:, left, right] @ weights).argmax(1)]
    return best


@cache
def _partitions(n: int, k: int) -> tuple[Ints, Singles]:
    """Every split of n points into exactly k parts: labels (P, n), and of each pair its weight in each split.

    The weight of two points of one part is 1 / (size of the part), times lcm(1..n), which makes it an integer: sums of
    integers in float32 are exact, so ties between partitions do not depend on rounding.
    """
    # Restricted growth strings: a point joins a part that exists or opens the next one, so every partition occurs
    # once. A prefix is dropped if the `left` points that follow cannot open the parts that are still missing.
    rows: list[Labels] = [()]
    for left in reversed(range(n)):
        longer: list[Labels] = []
        for row in rows:
            parts = range(min(k, len(set(row)) + 1))
            longer += [(*row, part) for part in parts if len({*row, part}) + left >= k]
        rows = longer
    labels = np.array(rows, np.int64)
    sizes = (labels[:, :, None] == labels[:, None]).sum(2)
    left_, right = np.triu_indices(n, 1)
    together = labels[:, left_] == labels[:, right]
    weights = np.where(together, lcm(*range(1, n + 1)) // sizes[:, left_], 0)
    return labels, np.ascontiguousarray(weights.T, np.float32)


def _lloyd(rows: LevelRows, k: int, randoms: Sequence[np.random.Generator]) -> Ints:
    """Labels (B, n) of the best of `STARTS` descents for each post, all posts and starts at once."""
    product = _product(_hot(rows))
    uniform = np.stack([random.random((STARTS, k)) for random in randoms])
    labels, gain = _descend(product, _starts(product, uniform, rows.shape[1], rows.shape[2]))
    # Gains of equal partitions may differ in the last bits; rounded, the first start wins.
    best = labels[np.arange(len(rows)), np.round(gain, 9).argmax(1)]
    # Clusters are numbered by their first response. A cluster's rank is that of the first place where it appears.
    appears = (best[:, None] == np.arange(k)[:, None]).argmax(2)
    return np.take_along_axis(appears.argsort(1).argsort(1), best, 1)


def _product(hot: Singles) -> Product:
    """Weights of points (B, ..., n) -> inner products of their weighted sums with every point, the same shape."""
    posts, n, _ = hot.shape
    across = hot.transpose(0, 2, 1)
    gram: Singles | None = hot @ across if n <= GRAM else None

    def product(weights: Singles) -> Singles:
        flat = weights.reshape(posts, -1, n)
        # The second form is evaluated from the left: its intermediate array is (B, S k, 3 D), and the (n, n) matrix is
        # never made.
        products = flat @ gram if gram is not None else flat @ hot @ across
        return products.astype(np.float32, copy=False).reshape(weights.shape)

    return product


def _starts(product: Product, uniform: Floats, n: int, dimensions: int) -> Singles:
    """k-means++: centres (B, S, k, n) that are points, drawn in turn by the distance to the nearest one before."""
    posts, starts, k = uniform.shape
    # The squared distance of one-hot vectors is 2 (D - matches), so D - matches is proportional to it: the weight with
    # which k-means++ draws the next centre. `drawn` inverts the cumulative distribution at the uniform number.
    # A centre is held as its weights over the points, here a single 1, so that `product` serves points and means
    # alike. All chances are equal at first, so the first centre is drawn uniformly. There are at most as many clusters
    # as distinct responses, so a point with a chance above zero is left at every draw.
    centres = np.zeros((posts, starts, k, n), np.float32)
    chances = np.full((posts, starts, n), float(dimensions))
    for c in range(k):
        sums = chances.cumsum(2)
        drawn = (sums <= uniform[:, :, c, None] * sums[:, :, -1:]).sum(2)
        np.put_along_axis(centres[:, :, c], drawn[:, :, None], 1.0, 2)
        chances = np.minimum(chances, dimensions - product(centres[:, :, c]))
    return centres


def _descend(product: Product, members: Singles) -> tuple[Ints, Floats]:
    """Lloyd from given members (B, S, k, n): labels (B, S, n), and what the inertia lacks to n D, (B, S)."""
    # A centre is the mean of its members, so with inner products G only: |x - c|^2 = |x|^2 - 2 <x, c> + |c|^2, where
    # <x, c> = inside / size, |c|^2 = norms / size, and |x|^2 = D is left out because it is equal for all centres.
    # No cluster is -1, so the first round cannot end the loop.
    labels = np.full((*members.shape[:2], members.shape[3]), -1)
    for _ in range(ROUNDS):
        inside, sizes = product(members).astype(np.float64), members.sum(3, dtype=np.float64)
        norms = (members * inside).sum(3) / sizes
        distances = (norms / sizes)[..., None] - 2 * inside / sizes[..., None]
        fresh = distances.argmin(2)
        members = _members(fresh, members.shape[2])
        # A cluster without members would divide by zero in the next round.
        if len(empty := np.argwhere(members.sum(3) == 0)):
            for post, start, _ in empty:
                _fill(fresh[post, start], distances[post, start])
            members = _members(fresh, members.shape[2])
        if (fresh == labels).all():
            break
        labels = fresh
    return labels, ((members * product(members)).sum(3, dtype=np.float64) / members.sum(3)).sum(2)


def _members(labels: Ints, k: int) -> Singles:
    members: Singles = (labels[:, :, None] == np.arange(k)[:, None]).astype(np.float32)
    return members


def _fill(labels: Ints, distances: Floats) -> None:
    """Gives each empty cluster, in place, the point farthest from its centre that is not alone in its cluster."""
    k, n = distances.shape
    for empty in np.flatnonzero(np.bincount(labels, minlength=k) == 0):
        # Counted anew for each empty cluster: the point that filled the last one may have left another point alone.
        alone = np.bincount(labels, minlength=k)[labels] == 1
        labels[np.where(alone, -np.inf, distances[labels, np.arange(n)]).argmax()] = empty
