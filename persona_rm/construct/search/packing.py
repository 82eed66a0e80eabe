"""Levels packed into words: the layout that the index writes and that the scans read.

A level 1..3 takes two bits, a low and a high one, so 90 dimensions take three uint64 (24 bytes). Two words hold 64
dimensions, with the low bits in the first word and the high bits in the second, so that two rows differ in a dimension
exactly if either word does: one `or` and one popcount compare 64 dimensions. If 32 or fewer dimensions are left, one
word holds four of them per byte, with the low bits in the lower half of the byte and the high bits in the upper half.

Packed rows are (n, W); scans read them transposed, (W, n), so that one instruction compares several rows.
"""

import numpy as np
import numpy.typing as npt

Packed = npt.NDArray[np.uint64]
Ints = npt.NDArray[np.int64]
PER_WORD, PER_TWO = 32, 64
HALVES = np.uint64(0x0F0F0F0F0F0F0F0F)
"""The lower half of every byte: one bit per dimension after both halves of a differing word are joined."""
FOUR, ONE = np.uint64(4), np.uint64(1)


def place(dimension: int, words: int) -> tuple[int, int, int, int]:
    """(word and bit of the low bit, word and bit of the high bit) of a dimension in rows of `words` words."""
    first, bit = 2 * (dimension // PER_TWO), dimension % PER_TWO
    if first + 1 < words:
        return first, bit, first + 1, bit
    # The last, single word: a byte holds the low bits of four dimensions at 0 to 3 and their high bits at 4 to 7.
    low = bit // 4 * 8 + bit % 4
    return first, low, first, low + 4


def pack(levels: npt.ArrayLike) -> Packed:
    """Levels 1..3, shape (n, D) -> uint64, shape (n, ceil(D / 32)); unused bits are zero."""
    array = np.asarray(levels, np.uint8)
    n, dimensions = array.shape
    words = -(-dimensions // PER_WORD)
    places = np.array([place(d, words) for d in range(dimensions)]).reshape(dimensions, 4)
    # One byte per bit until they are packed: 192 bytes per row of 90 dimensions, so callers pack in batches. Bits that
    # no dimension uses stay zero in every row and in every query, so they never count as mismatches.
    bits = np.zeros((n, 64 * words), np.uint8)
    bits[:, 64 * places[:, 0] + places[:, 1]] = array & 1
    bits[:, 64 * places[:, 2] + places[:, 3]] = array >> 1
    # "<u8" fixes the byte order of the bits; the last step converts to the machine's own order, if it differs.
    return np.packbits(bits, 1, bitorder="little").view("<u8").astype(np.uint64, copy=False)


def transposed(packed: Packed) -> Packed:
    """Packed rows (n, W) -> contiguous words (W, n), as `Corpus` holds them."""
    return np.ascontiguousarray(packed.T)
