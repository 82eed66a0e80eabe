"""The scans of similarity.py, compiled by numba: blocks of rows over transposed words (W, n), packed by packing.py.

Blocks are small at first, because most scans end early. A block is compared without branches, first its mismatches and
then the anchor's bits, and is skipped if no row passes. Only for the few rows that pass, the whole post is searched.
"""

from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from persona_rm.construct.search.packing import FOUR, HALVES, ONE, place
from persona_rm.types import MIDDLE

FIRST_BLOCK, BLOCK = 32, 512
"""Rows of the first block of a scan. Blocks double up to `BLOCK` rows, whose counts (4 KiB) stay in the first-level
cache."""


class Kernels(NamedTuple):
    """The compiled scans: of `Corpus.find`, and of `Corpus.count`."""

    find: Callable[..., Any]
    tally: Callable[..., int]


@cache
def kernels(posts: np.dtype[Any]) -> Kernels | None:
    """The scans compiled for read-only arrays and one type of post numbers, or None without numba.

    Compiled once per process: a cache on disk would fail if the package is installed read-only.
    """
    if find_spec("numba") is None:
        return None
    import numba

    apart, near = _apart(numba), _near(numba)
    table, row = (numba.types.Array(numba.uint64, n, "C", readonly=True) for n in (2, 1))
    numbers = numba.types.Array(numba.from_dtype(posts), 1, "C", readonly=True)
    # Explicit signatures compile each kernel now, for read-only memory maps: without them numba would compile a second
    # version at the first call with other arrays.
    i8 = numba.int64
    counted = i8(table, row, i8)
    rows_and_counts = numba.types.UniTuple(i8[::1], 2)(table, table, numbers, row, row, i8, i8, i8, i8, i8, i8, i8)
    find = numba.njit(rows_and_counts, nogil=True)(_find(near, _mask(numba), _pick(numba), _best_of(numba, apart)))
    return Kernels(find, numba.njit(counted, nogil=True)(_tally(near)))


@cache
def _near(numba: Any) -> Any:
    """The inner loop: writes the mismatches of rows `begin` to `end` with the query to `away`; returns how many have
    at most `most`."""
    popcount = _popcount(numba)

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
    def near(words: Any, begin: int, end: int, query: Any, most: int, away: Any) -> int:
        hits, n = 0, end - begin
        if len(words) == 3:  # the 90 dimensions of alignx90: one pass, and no partial sums written to memory
            a, b, c = words[0, begin:end], words[1, begin:end], words[2, begin:end]
            x, y, z = query[0], query[1], query[2]
            for i in range(n):
                # A dimension differs if its low or its high bit does. Words a and b hold these bits at the same place;
                # in c the high bit stands four places above the low one.
                rest = c[i] ^ z
                count = popcount((a[i] ^ x) | (b[i] ^ y)) + popcount((rest | (rest >> FOUR)) & HALVES)
                away[i] = count
                # The comparison is added as 0 or 1 and is no branch, like everything in this loop.
                hits += count <= most
            return hits
        # Any other number of words: pairs of words are summed in `away`, then a last unpaired word, if there is one.
        # The buffer still holds the counts of the block before: the path above overwrites them, this one adds to them.
        away[:n] = 0
        for word in range(0, len(words) - 1, 2):
            a, b, x, y = words[word, begin:end], words[word + 1, begin:end], query[word], query[word + 1]
            for i in range(n):
                away[i] += popcount((a[i] ^ x) | (b[i] ^ y))
        if len(words) % 2:
            a, x = words[-1, begin:end], query[-1]
            for i in range(n):
                rest = a[i] ^ x
                away[i] += popcount((rest | (rest >> FOUR)) & HALVES)
        for i in range(n):
            hits += away[i] <= most
        return hits

    return near


def _tally(near: Any) -> Any:
    def tally(words: Any, query: Any, most: int) -> int:
        # A count never ends early, so all blocks have the full size.
        away, total, hits = np.empty(BLOCK, np.int64), words.shape[1], 0
        for begin in range(0, total, BLOCK):
            hits += near(words, begin, min(begin + BLOCK, total), query, most, away)
        return hits

    return tally


def _find(near: Any, mask: Any, pick: Any, best_of: Any) -> Any:
    """The scan of `Corpus.find`. Rows that pass and point the way are few: each has its whole post looked at, once."""

    def find(
        words: Any,
        others: Any,
        posts: Any,
        query: Any,
        other: Any,
        post: int,
        start: int,
        dimensions: int,
        least: int,
        limit: int,
        dimension: int,
        way: int,
    ) -> Any:
        matches, counts = np.empty(limit, np.int64), np.empty(limit, np.int64)
        away, picked = np.empty(BLOCK, np.int64), np.empty(BLOCK, np.int64)
        # `least` matches are at most `most` mismatches; `most + 1` marks a row as out of reach.
        most, n, size, first = dimensions - least, 0, FIRST_BLOCK, start
        # A post offers one row, the best of all its rows, so a scan never starts inside a post.
        while first and posts[first - 1] == posts[start]:
            first -= 1
        # Once round is two ranges. `first` is where a post begins, so neither range cuts a post. `size` goes on
        # growing in the second one, since a scan that comes so far has not ended early.
        for low, high in ((first, len(posts)), (0, first)):
            begin = low
            while begin < high:
                end = min(begin + size, high)
                size = min(2 * size, BLOCK)
                hits, after = near(words, begin, end, query, most, away), begin
                if hits and way:
                    hits = mask(words, others, begin, end, dimension, way, most, away)
                if hits:
                    pick(away, end - begin, most, picked)
                for i in range(hits):
                    row = begin + picked[i]
                    # `after` is the end of the last post that was searched whole: its other rows are done.
                    if row < after or posts[row] == post:
                        continue
                    # `away[0]` is free again: the block's mismatches were read into `picked`. The best row may differ
                    # from `row`, so the anchor is tested once more, on the best row alone.
                    best, after = best_of(words, others, posts, query, other, row, most, away)
                    if away[0] > most or (way and not mask(words, others, best, best + 1, dimension, way, most, away)):
                        continue
                    matches[n], counts[n], n = best, dimensions - away[0], n + 1
                    if n == limit:
                        return matches, counts
                begin = max(end, after)  # a post that reaches into the next block was searched to its end
        return matches[:n], counts[:n]

    return find


@cache
def _mask(numba: Any) -> Any:
    """Marks the rows of a block that do not point the way as out of reach in `away`; returns how many are left."""
    placed = numba.njit(place)

    @numba.njit(nogil=True, inline="always")  # type: ignore[untyped-decorator]
    def level(low: Any, low_bit: int, high: Any, high_bit: int) -> Any:
        # Levels are packed as the numbers 1 to 3, so the two bits are the level itself, without an offset.
        return np.int64((low >> np.uint64(low_bit)) & ONE) + 2 * np.int64((high >> np.uint64(high_bit)) & ONE)

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
    def mask(words: Any, others: Any, begin: int, end: int, dimension: int, way: int, most: int, away: Any) -> int:
        one, i, two, j = placed(dimension, len(words))
        low, high, sides, hits = words[one, begin:end], words[two, begin:end], words, 0
        paired = len(others) > 0
        if paired:
            sides = others
        # Without a second side (UGC) `others` has no words to slice. Then these views alias the first side, which the
        # loop does not read through them: such a row is compared with the middle level.
        other_low, other_high = sides[one, begin:end], sides[two, begin:end]
        for row in range(end - begin):
            against = level(other_low[row], i, other_high[row], j) if paired else MIDDLE
            ahead = level(low[row], i, high[row], j) - against
            away[row] = away[row] if (ahead if way > 0 else -ahead) > 0 else most + 1
            hits += away[row] <= most
        return hits

    return mask


@cache
def _pick(numba: Any) -> Any:
    """Writes the places of a block that are in reach, in order, to `picked`. It has no branches, because the processor
    could not predict them."""

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
    def pick(away: Any, n: int, most: int, picked: Any) -> None:
        hits = 0
        for i in range(n):
            # `hits` is at most `i`, so the write stays inside the buffer, which is as long as a block.
            picked[hits] = i  # overwritten by the next place unless this one counts
            hits += away[i] <= most

    return pick


def _best_of(numba: Any, apart: Any) -> Any:
    """The most similar passing row of the post that `row` is of, its mismatches in `away[0]`, and the row after it.

    `away[0]` is `most + 1` if none passes.
    """

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
    def best_of(words: Any, others: Any, posts: Any, query: Any, other: Any, row: int, most: int, away: Any) -> Any:
        post, best, fewest = posts[row], row, most + 1
        # Rows of the post before `row` may have failed at the anchor alone and still be the most similar ones.
        while row and posts[row - 1] == post:
            row -= 1
        while row < len(posts) and posts[row] == post:
            count = apart(words, row, query)
            # The strict comparison keeps the first row on a tie. `fewest` begins at `most + 1`, so a row that is out
            # of reach never wins, and its second side is not read.
            if count < fewest and (not len(others) or apart(others, row, other) <= most):
                best, fewest = row, count
            row += 1
        away[0] = fewest
        return best, row

    return best_of


@cache
def _apart(numba: Any) -> Any:
    """Mismatches of one row with the query."""
    popcount = _popcount(numba)

    @numba.njit(nogil=True)  # type: ignore[untyped-decorator]
    def apart(words: Any, row: int, query: Any) -> int:
        # The layout is that of `near`, for one row: `best_of` walks over the few rows of a post.
        count, width = 0, len(words)
        for word in range(0, width - 1, 2):
            count += popcount((words[word, row] ^ query[word]) | (words[word + 1, row] ^ query[word + 1]))
        if width % 2:
            rest = words[width - 1, row] ^ query[width - 1]
            count += popcount((rest | (rest >> FOUR)) & HALVES)
        return count

    return apart


def _popcount(numba: Any) -> Any:
    """The processor's bit count, which numba does not offer by name."""
    from numba.extending import intrinsic

    def popcount(context: Any, x: Any) -> Any:
        def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return builder.ctpop(arguments[0])

        return numba.int64(numba.uint64), build

    return intrinsic(popcount)
