"""Which responses are as intense as this one? Exact integer similarity on packed levels, early exit.

The cosine of two one-hot concatenations is (matching dimensions) / D exactly, so "larger than t" is an integer rule.
A level takes 2 bits: 90 dimensions are 3 uint64 (24 bytes). Two rows match where the bits agree: popcount of the
differing pairs counts the mismatches. Queries scan the corpus in one seeded permutation, each from its own start, and
stop at `limit` hits. The numba kernel and the numpy fallback return the same rows.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt

Packed = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
EVEN = np.uint64(0x5555555555555555)
PER_WORD = 32
CHUNK = 4096


def min_matches(dimensions: int, threshold: float) -> int:
    """The fewest matching dimensions whose share is strictly larger than `threshold`: 55 of 90 for 0.6."""
    return int(Fraction(str(threshold)) * dimensions) + 1


def pack(levels: npt.ArrayLike) -> Packed:
    """Levels 1..3, shape (n, D) -> uint64, shape (n, ceil(D / 32)); unused bits are zero."""
    array = np.asarray(levels, np.uint64)
    n, dimensions = array.shape
    words = -(-dimensions // PER_WORD)
    padded = np.zeros((n, words * PER_WORD), np.uint64)
    padded[:, :dimensions] = array
    shifts = 2 * np.arange(PER_WORD, dtype=np.uint64)
    packed: Packed = np.bitwise_or.reduce(padded.reshape(n, words, PER_WORD) << shifts, axis=2)
    return packed


def matches(query: Packed, rows: Packed, dimensions: int) -> Ints:
    """Matching dimensions of one packed row (words,) with each of `rows` (n, words)."""
    differing = rows ^ query
    counts = np.bitwise_count((differing | (differing >> np.uint64(1))) & EVEN)
    matching: Ints = dimensions - counts.sum(1, dtype=np.int64)
    return matching


def seeded(*parts: object) -> np.random.Generator:
    """A generator that depends on nothing but its arguments (never on a block or a worker)."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))


@dataclass(frozen=True)
class Corpus:
    """Rows in a seeded order. `other` is a second side that must be as similar (PAIR), or None (UGC).

    `posts[i]` is the number of the post of row i: a post gives at most one row of a search, its most similar.
    """

    rows: Packed
    posts: Ints
    dimensions: int
    others: Packed | None = None

    def find(
        self, query: Packed, post: int, start: int, least: int, limit: int, other: Packed | None = None
    ) -> tuple[Ints, Ints]:
        """(row numbers, matches) of up to `limit` posts other than `post`, scanning from `start` and round once.

        Rows of one post must be neighbours; a scan starts at the first row of the post that `start` falls into.
        `other` against `others` must reach `least` too.
        """
        if not len(self.rows):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        first = int(np.searchsorted(self.posts, self.posts[start % len(self.rows)]))
        rows, others = self.rows, self.rows[:, :0] if self.others is None else self.others
        second = query[:0] if other is None else other
        kernel = _numba_kernel() or scan_numpy
        return kernel(rows, others, self.posts, query, second, post, first, self.dimensions, least, limit)


def scan_numpy(
    rows: Packed,
    others: Packed,
    posts: Ints,
    query: Packed,
    other: Packed,
    post: int,
    first: int,
    dimensions: int,
    least: int,
    limit: int,
) -> tuple[Ints, Ints]:
    """The scan in numpy, in chunks, for machines without numba."""
    order = np.concatenate([np.arange(first, len(rows)), np.arange(first)])
    best: dict[int, tuple[int, int]] = {}
    for begin in range(0, len(order), CHUNK):
        chunk = order[begin : begin + CHUNK]
        counts = matches(query, rows[chunk], dimensions)
        hit = (counts >= least) & (posts[chunk] != post)
        if len(other):
            hit &= matches(other, others[chunk], dimensions) >= least
        if _merge(best, chunk[hit], counts[hit], posts, limit):
            break
    found = list(best.values())[:limit]
    return np.array([row for row, _ in found], np.int64), np.array([count for _, count in found], np.int64)


def _merge(best: dict[int, tuple[int, int]], rows: Ints, counts: Ints, posts: Ints, limit: int) -> bool:
    """Keep each post's most similar row, first come on a tie; True once a post beyond the limit is seen."""
    for row, count in zip(rows.tolist(), counts.tolist(), strict=True):
        post = int(posts[row])
        if post not in best and len(best) == limit:
            return True
        if post not in best or count > best[post][1]:
            best[post] = (row, count)
    return False


@cache
def _numba_kernel() -> Callable[..., tuple[Ints, Ints]] | None:
    """The compiled scan, or None where numba is not installed."""
    if find_spec("numba") is None:
        return None
    import numba

    popcount = _popcount(numba)

    @numba.njit(nogil=True, inline="always")  # type: ignore[untyped-decorator]
    def similar(query: Any, rows: Any, row: int, dimensions: int) -> int:
        left = dimensions
        for word in range(len(query)):
            x = rows[row, word] ^ query[word]
            left -= popcount((x | (x >> np.uint64(1))) & EVEN)
        return left

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
    def scan(
        rows: Any,
        others: Any,
        posts: Any,
        query: Any,
        other: Any,
        post: int,
        first: int,
        D: int,
        least: int,
        limit: int,
    ) -> Any:
        found, counts, n, total = np.empty(limit, np.int64), np.empty(limit, np.int64), 0, len(rows)
        for step in range(total):
            row = first + step
            if row >= total:
                row -= total
            count = similar(query, rows, row, D)
            if count < least or posts[row] == post or (len(other) and similar(other, others, row, D) < least):
                continue
            if n and posts[found[n - 1]] == posts[row]:
                if count > counts[n - 1]:
                    found[n - 1], counts[n - 1] = row, count
                continue
            if n == limit:
                break
            found[n], counts[n], n = row, count, n + 1
        return found[:n], counts[:n]

    return scan  # type: ignore[no-any-return]


def _popcount(numba: Any) -> Any:
    """The processor's bit count, which numba does not offer by name."""
    from numba.extending import intrinsic

    def popcount(context: Any, x: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.ctpop(arguments[0])

        return numba.int64(numba.uint64), build

    return intrinsic(popcount)
