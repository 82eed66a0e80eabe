"""Search for responses of similar intensity: exact integer similarity on packed levels, with an early exit.

The cosine of two concatenations of one-hot vectors (paper, section 4.1) is exactly (matching dimensions) / D, so
"larger than t" is a rule on integers, and no float is ever compared. Popcounts of differing bits count the mismatches.
The layout of the bits is in packing.py and the compiled scans are in kernels.py; the numpy scan here returns the same
rows. It is for machines without numba and for small corpora.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from persona_rm.construct.search.kernels import Kernels, kernels
from persona_rm.construct.search.packing import FOUR, HALVES, ONE, PER_WORD, Ints, Packed, place
from persona_rm.errors import DataError
from persona_rm.types import MIDDLE

CHUNK = 4096
"""Rows that numpy compares at once; a scan starts with an eighth of it."""

SMALL = CHUNK
"""A corpus of fewer rows is scanned by numpy: every process compiles the kernels anew, which takes it seconds, and all
searches of a build of that size take less."""


def min_matches(dimensions: int, threshold: float) -> int:
    """The fewest matching dimensions whose share is strictly larger than `threshold`: 55 of 90 for 0.6."""
    # The text of the float is the decimal that a recipe says. The float 0.6 itself is a little below 3/5, and of 90
    # dimensions it would ask for 54.
    return int(Fraction(str(threshold)) * dimensions) + 1


def matches(query: Packed, rows: Packed, dimensions: int) -> Ints:
    """Matching dimensions of one packed row (W,) with each of `rows` (n, W)."""
    differing, paired = rows ^ query, rows.shape[1] // 2 * 2
    # Two full words hold low and high bits of the same dimensions: either one differing is one mismatch. In a last,
    # unpaired word the high bit stands four places above the low one, so it is shifted down before they are joined.
    rest = differing[:, paired:]
    counts = np.bitwise_count(differing[:, :paired:2] | differing[:, 1:paired:2]).sum(1, dtype=np.int64)
    counts += np.bitwise_count((rest | (rest >> FOUR)) & HALVES).sum(1, dtype=np.int64)
    matching: Ints = dimensions - counts
    return matching


@dataclass(frozen=True)
class Corpus:
    """Packed rows, transposed: `words` (W, n) uint64, contiguous; read-only memory maps are read in place.

    `posts` (n,) are non-decreasing post numbers: rows of a post are neighbours, and posts stand in a seeded order.
    `others` (W, n) is a second side that must be as similar (PAIR), or None (UGC).
    """

    words: Packed
    posts: Ints
    dimensions: int
    others: Packed | None = None

    def __post_init__(self) -> None:
        if self.posts.ndim != 1 or self.posts.dtype.kind != "i" or not self.posts.flags.c_contiguous:
            raise DataError(f"posts are contiguous integers (n,), found {self.posts.dtype} {self.posts.shape}")
        shape = (-(-self.dimensions // PER_WORD), len(self.posts))
        for side in (self.words, self.words if self.others is None else self.others):
            if side.shape != shape or side.dtype != np.uint64 or not side.flags.c_contiguous:
                raise DataError(
                    f"a corpus of {shape[1]} rows and {self.dimensions} dimensions needs contiguous uint64 words of"
                    f" shape {shape}, found {side.dtype} {side.shape}: make them with transposed(pack(levels))"
                )

    def find(
        self,
        query: Packed,
        post: int,
        start: int,
        least: int,
        limit: int,
        other: Packed | None = None,
        anchor: tuple[int, int] | None = None,
    ) -> tuple[Ints, Ints]:
        """(row numbers, matches) of up to `limit` posts other than `post`, scanning from `start` and round once.

        A post offers its row most similar to `query` (the first on a tie) of those with `least` matches; with `others`
        a row must have `least` matches between `other` and its second side too (Algorithm 1, lines 14-17 and 22-23).
        `anchor` = (dimension, way), way 1 or -1: the offered row counts only where it points that way there. A UGC row
        points up with the highest level and down with the lowest; a PAIR row as its chosen side minus its rejected.
        The scan starts at the first row of the post of row `start % n`. Raises DataError for a query or an anchor that
        does not fit the corpus.
        """
        dimension, way = self._checked(query, other, anchor)
        if not len(self.posts) or limit < 1:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        words, posts, query = np.asarray(self.words), np.asarray(self.posts), np.ascontiguousarray(query)
        # The compiled scan has one signature, so a side that is missing is an array without words and not None.
        others = words[:0] if self.others is None else np.asarray(self.others)
        second = query[:0] if other is None else np.ascontiguousarray(other)
        compiled = self._compiled()
        scan = compiled.find if compiled else scan_numpy
        # The kernel allocates `limit` results at once, and a row can be a result only once.
        bounds = (start % len(posts), self.dimensions, least, min(limit, len(posts)))
        return scan(words, others, posts, query, second, post, *bounds, dimension, way)

    def count(self, query: Packed, least: int) -> int:
        """The number of rows with `least` matches with `query` on the first side, of all posts: a whole scan."""
        self._checked(query, query if self.others is not None else None, None)
        if compiled := self._compiled():
            return compiled.tally(np.asarray(self.words), np.ascontiguousarray(query), self.dimensions - least)
        starts = range(0, len(self.posts), CHUNK)
        blocks = (matches(query, self.words[:, begin : begin + CHUNK].T, self.dimensions) for begin in starts)
        return sum(int(np.count_nonzero(counts >= least)) for counts in blocks)

    def _compiled(self) -> Kernels | None:
        return kernels(self.posts.dtype) if len(self.posts) >= SMALL else None

    def _checked(self, query: Packed, other: Packed | None, anchor: tuple[int, int] | None) -> tuple[int, int]:
        """The anchor, (0, 0) for none: the compiled scan reads memory without checks, so they stand here."""
        width = (len(self.words),)
        if query.shape != width or (other is not None and other.shape != width):
            raise DataError(f"a query needs {width[0]} packed words, found shape {query.shape}")
        if (other is None) != (self.others is None):
            raise DataError("a query needs a second side exactly where the corpus has one")
        if anchor is None:
            return 0, 0
        if not 0 <= anchor[0] < self.dimensions or anchor[1] not in (-1, 1):
            raise DataError(f"an anchor is a dimension below {self.dimensions} and a way, 1 or -1; found {anchor}")
        return anchor


def scan_numpy(
    words: Packed,
    others: Packed,
    posts: Ints,
    query: Packed,
    other: Packed,
    post: int,
    start: int,
    dimensions: int,
    least: int,
    limit: int,
    dimension: int,
    way: int,
) -> tuple[Ints, Ints]:
    """The scan in numpy, in chunks of whole posts, for machines without numba and for small corpora."""
    # A post's rows are neighbours and only its best row counts, so chunks end where a post ends. The first chunk is
    # small, since most scans have enough rows early; then chunks double up to CHUNK.
    first, total = int(np.searchsorted(posts, posts[start])), len(posts)
    rows, counts, n, size = [np.empty(0, np.int64)], [np.empty(0, np.int64)], 0, CHUNK // 8
    for low, high in ((first, total), (0, first)):
        begin = low
        while begin < high and n < limit:
            end = int(np.searchsorted(posts, posts[min(begin + size, high) - 1], "right"))
            same = matches(query, words[:, begin:end].T, dimensions)
            similar = (same >= least) & (posts[begin:end] != post)
            if len(other):
                similar &= matches(other, others[:, begin:end].T, dimensions) >= least
            passing = np.flatnonzero(similar)
            # The anchor is tested after a post's best row was chosen, as in the kernel: a post whose most similar row
            # points the other way offers no row.
            best = _most_similar(passing, same[passing], posts[begin + passing])
            if way:
                best = best[_points(words[:, begin + best], others[:, begin + best], dimension, way)]
            rows, counts, n = [*rows, begin + best], [*counts, same[best]], n + len(best)
            begin, size = end, min(2 * size, CHUNK)
    return np.concatenate(rows)[:limit], np.concatenate(counts)[:limit]


def _most_similar(rows: Ints, counts: Ints, posts: Ints) -> Ints:
    """Of each post the row with the largest count, the first on a tie, in the order of posts."""
    # The last key of `lexsort` is the first to sort by: posts, then falling counts, then rows. `unique` gives the
    # first place of each post, which is its best row.
    order = np.lexsort((rows, -counts, posts))
    best: Ints = rows[order[np.unique(posts[order], return_index=True)[1]]]
    return best


def _points(words: Packed, others: Packed, dimension: int, way: int) -> npt.NDArray[np.bool_]:
    """Which of the rows (W, n) point `way` (1 or -1) at the dimension."""
    level = _level(words, dimension)
    against = _level(others, dimension) if len(others) else MIDDLE
    pointing: npt.NDArray[np.bool_] = level > against if way > 0 else level < against
    return pointing


def _level(words: Packed, dimension: int) -> Ints:
    """The levels of rows (W, n) at one dimension."""
    one, i, two, j = place(dimension, len(words))
    low, high = (words[word] >> np.uint64(bit) & ONE for word, bit in ((one, i), (two, j)))
    level: Ints = (low + 2 * high).astype(np.int64)
    return level
