"""Packed integer search against a float32 one-hot GEMM, same rows, same answer: prints pairs per second and the ratio.

python tests/perf/search.py
"""

import time

import numpy as np

from persona_rm.construct.search import _numba_kernel, min_matches, pack
from persona_rm.construct.steps import one_hot

QUERIES, ROWS, DIMENSIONS = 300, 60_000, 90


def main() -> None:
    levels = np.random.default_rng(0).integers(1, 4, (ROWS, DIMENSIONS))
    packed, posts = pack(levels), np.arange(ROWS)
    least = min_matches(DIMENSIONS, 0.5)
    kernel = _numba_kernel()
    assert kernel is not None, "numba is not installed"
    none = packed[:, :0]
    kernel(packed[:2], none[:2], posts[:2], packed[0], packed[0][:0], -1, 0, DIMENSIONS, least, 4)
    started = time.perf_counter()
    exact = [len(kernel(packed, none, posts, q, q[:0], -1, 0, DIMENSIONS, least, ROWS)[0]) for q in packed[:QUERIES]]
    fast = QUERIES * ROWS / (time.perf_counter() - started)
    hot = one_hot([tuple(row) for row in levels.tolist()]).astype(np.float32)
    started = time.perf_counter()
    dense = (hot[:QUERIES] @ hot.T >= least - 0.5).sum(1).tolist()
    slow = QUERIES * ROWS / (time.perf_counter() - started)
    assert exact == dense
    print(
        f"packed {fast / 1e6:.0f} M pairs/s (24 B/row), GEMM {slow / 1e6:.0f} M (1,080 B/row), ratio {fast / slow:.1f}"
    )


if __name__ == "__main__":
    main()
