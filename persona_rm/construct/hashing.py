"""Hashes and random generators that depend on their arguments alone, never on a block, a worker or a row order."""

import hashlib

import numpy as np


def hashed(*parts: object) -> int:
    """63 bits of a hash of the parts: an id that an int64 array can hold."""
    # The separator occurs in no id, so ("ab", "c") and ("a", "bc") differ. It is the same in `seeded`.
    return int.from_bytes(hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()) >> 1


def seeded(*parts: object) -> np.random.Generator:
    """A generator that is seeded by a hash of the parts."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:16]))
