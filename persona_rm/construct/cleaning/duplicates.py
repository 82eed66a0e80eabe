"""Duplicates across posts: exact ones by a hash, near ones by MinHash signatures (Broder 1997) and banding.

Both give, for every row, the row that stands for it: the one with the smallest id among its duplicates. The answer
depends on neither the order of the rows nor where they were computed.
"""

import hashlib
import re
import zlib
from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from persona_rm.construct.cleaning.config import CleanConfig
from persona_rm.errors import MissingExtra

MinhashSignature = npt.NDArray[np.uint32]
Signatures = npt.NDArray[np.uint32]
RowNumbers = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]
Ids = Sequence[str] | Sequence[int] | npt.NDArray[np.int64]
WORD = re.compile(r"\w+")
SEED = 1
CHUNK = 4096
"""Shingles, or pairs of signatures, that are processed at once: bounds the memory."""
SMALL = 32
"""Up to this size of a bucket every pair is compared."""
RECALL = 0.99
"""Of pairs exactly at the threshold that share a band, at least; pairs above it are found more often."""
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""2^64 / golden ratio: a multiplier that spreads equal low bits over the whole word (Fibonacci hashing)."""


def normalised(text: str) -> str:
    """Case and spaces folded."""
    return " ".join(text.split()).casefold()


def exact_hash(text: str) -> int:
    """64 bits of the normalised text. Among 100 million texts two different ones meet with probability 0.0003."""
    digest = hashlib.blake2b(normalised(text).encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest)


def exact_groups(ids: Ids, hashes: npt.ArrayLike) -> RowNumbers:
    """The row that stands for each row: of those with the same hash, the one with the smallest id. (n,) -> (n,)."""
    order = _by_id(ids)
    keys = np.asarray(hashes, np.uint64)[order]
    # Rows are in the order of their ids here, so the first row with a key is the one with the smallest id.
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    groups = np.empty(len(order), np.int64)
    groups[order] = order[first[inverse]]
    return groups


def _by_id(ids: Ids) -> RowNumbers:
    if isinstance(ids, np.ndarray):
        return np.argsort(ids, kind="stable")
    return np.array(sorted(range(len(ids)), key=ids.__getitem__), np.int64)


def shingles(text: str, size: int) -> npt.NDArray[np.uint32]:
    """Hashes of all runs of `size` words (fewer where the text is shorter); a text without words is one shingle."""
    words = WORD.findall(text.casefold()) or [normalised(text)]
    hashes = np.array([zlib.crc32(word.encode("utf-8", "surrogatepass")) for word in words], np.uint64)
    # One rolling step per word of the shingle, for all shingles at once: `mixed[i]` hashes words i to i + size - 1 in
    # their order. MinHash needs 32 bits; the upper half is the better mixed one.
    size = min(size, len(hashes))
    mixed = np.zeros(len(hashes) - size + 1, np.uint64)
    for place in range(size):
        mixed = (mixed + hashes[place : place + len(mixed)] + np.uint64(1)) * GOLDEN
        mixed ^= mixed >> np.uint64(29)
    return (mixed >> np.uint64(32)).astype(np.uint32)


def signature(text: str, config: CleanConfig) -> MinhashSignature:
    """The MinHash of a text's shingles, (permutations,); the share of equal places estimates the Jaccard similarity.

    Raises MissingExtra if datasketch is not installed.
    """
    kind, permutations = _minhash(config.permutations)
    # Shingles are hashes already, so datasketch's own hash function is replaced by `int`, which changes nothing.
    sketch = kind(num_perm=config.permutations, seed=SEED, hashfunc=int, permutations=permutations, scheme="affine32")
    hashes = shingles(text, config.shingle).tolist()
    for begin in range(0, len(hashes), CHUNK):
        sketch.update_batch(hashes[begin : begin + CHUNK])
    values: MinhashSignature = sketch.hashvalues
    return values


@cache
def _minhash(permutations: int) -> tuple[Any, Any]:
    """datasketch's class, and its permutations, which are costly to draw for every text."""
    try:
        from datasketch import MinHash
    except ImportError as error:
        raise MissingExtra("near-duplicates need datasketch: pip install persona_rm[data]") from error
    return MinHash, MinHash(num_perm=permutations, seed=SEED).permutations


def bands(threshold: float, permutations: int) -> tuple[int, int]:
    """(bands, rows per band): the longest bands by which a pair at the threshold t is found with probability
    1 - (1 - t^r)^b >= `RECALL`. For 0.8 and 128 that is 21 bands of 6, and 0.998."""
    rows = permutations
    while rows > 1 and 1 - (1 - threshold**rows) ** (permutations // rows) < RECALL:
        rows -= 1
    return permutations // rows, rows


def groups(ids: Ids, signatures: Signatures, threshold: float) -> RowNumbers:
    """The row that stands for each row, (n, P) -> (n,): connected components of pairs whose estimate reaches the
    threshold, and of each the row with the smallest id.

    Pairs are those that share a band. In a bucket of more than `SMALL` different signatures a row is compared with the
    first of the bucket and with the `SMALL` / 2 before it in the order of ids, not with all: the work grows with
    n log n however many texts are alike; two rows of it may then be joined through others, in another band, or not.
    Memory beyond the signatures: some 60 bytes per row, one band at a time.
    """
    # Rows are ranked by id, so that "the smallest row" is "the smallest id" and the input order does not matter.
    order = _by_id(ids)
    ranked = np.ascontiguousarray(signatures[order])
    count, rows = bands(threshold, ranked.shape[1])
    # Equal signatures are joined first, so that a text that was copied a thousand times is compared once. A 64-bit key
    # may collide, therefore the signatures themselves are compared.
    alike = exact_groups(range(len(order)), _mix(ranked))
    alike = np.where((ranked == ranked[alike]).all(1), alike, np.arange(len(order)))
    different = np.flatnonzero(alike == np.arange(len(order)))
    kept = ranked[different]
    parents = np.arange(len(kept))
    for band in range(count):
        left, right = _pairs(_mix(kept[:, band * rows : (band + 1) * rows]))
        parents = _join(parents, *_verified(kept, left, right, parents, threshold))
    # Row -> its equal in `different` -> the root of its component -> back from ranks to row numbers.
    represented = np.empty(len(order), np.int64)
    represented[order] = order[different[parents[np.searchsorted(different, alike)]]]
    return represented


def _mix(columns: npt.NDArray[np.uint32]) -> Keys:
    """One 64-bit key per row."""
    keys = np.zeros(len(columns), np.uint64)
    for column in columns.T:
        keys = (keys ^ column) * GOLDEN
        keys ^= keys >> np.uint64(32)
    return keys


def _pairs(keys: Keys) -> tuple[RowNumbers, RowNumbers]:
    """Rows to compare: within each run of equal keys, each row with those shortly before it and with the first."""
    # Rows come in the order of their ids, and the stable sort keeps it inside a bucket: "before" and "first" refer to
    # ids.
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    begins = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(keys) else np.empty(0, np.int64)
    sizes = np.diff(np.r_[begins, len(keys)])
    first = np.repeat(begins, sizes)
    # In a large bucket a row reaches SMALL / 2 rows back, else to the start: the number of pairs stays linear.
    reach = np.repeat(np.where(sizes > SMALL, SMALL // 2, SMALL), sizes)
    place = np.arange(len(keys)) - first
    lefts, rights = [first[place > 0]], [np.flatnonzero(place > 0)]
    for step in range(1, min(SMALL, int(place.max(initial=0))) + 1):
        later = np.flatnonzero((place > step) & (reach >= step))
        lefts.append(later - step)
        rights.append(later)
    return order[np.concatenate(lefts)], order[np.concatenate(rights)]


def _verified(
    kept: Signatures, left: RowNumbers, right: RowNumbers, parents: RowNumbers, threshold: float
) -> tuple[RowNumbers, RowNumbers]:
    """The pairs that are not joined yet and whose estimated similarity reaches the threshold."""
    # Pairs inside a component cannot change it, and comparing signatures is the costly part.
    new = parents[left] != parents[right]
    left, right = left[new], right[new]
    least = threshold * kept.shape[1] - 1e-9  # against the rounding of the product
    mask = np.empty(len(left), np.bool_)
    for begin in range(0, len(left), CHUNK):
        part = slice(begin, begin + CHUNK)
        mask[part] = (kept[left[part]] == kept[right[part]]).sum(1) >= least
    return left[mask], right[mask]


def _join(parents: RowNumbers, left: RowNumbers, right: RowNumbers) -> RowNumbers:
    """Union-find over arrays.

    Invariant: parents[i] is a root and parents[i] <= i. Each round hooks the larger root of a pair to the smaller one
    and halves paths until every parent is a root again; it ends if both rows of every pair have the same root.
    """
    parents = parents.copy()
    while True:
        low, high = np.minimum(parents[left], parents[right]), np.maximum(parents[left], parents[right])
        if (low == high).all():
            return parents
        # `minimum.at`, because a row may stand in several pairs: plain indexing would keep one of their values only.
        np.minimum.at(parents, high, low)
        while not np.array_equal(shorter := parents[parents], parents):
            parents = shorter
