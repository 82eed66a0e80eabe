"""Packed integer search against float32 GEMM: 1,000 queries x 200,000 rows of 90 dimensions, one thread each.

    python tests/perf/similarity.py --json figures.json

GEMM: the rows are expanded to one-hot float32 beforehand, in blocks; it multiplies, compares with the threshold and
counts. numpy (OpenBLAS) and torch (MKL), with two sizes of block each, are tried first and the fastest is measured.
The packed side is the product's `Corpus.count`, query by query. Seconds are CPU seconds of the process, because the
machine may be shared; figures are medians of `REPEATS` rounds in which both take part.
`exact`: counts equal GEMM's for all queries; for `SAMPLE` of them, counts, rows and matches of `Corpus.find` equal
what comparing the levels themselves gives, integer by integer. Then time per pair and bytes per row
of corpora of 1 and 5 million rows.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
from threadpoolctl import threadpool_limits

from persona_rm.construct.search.packing import pack, transposed
from persona_rm.construct.search.similarity import Corpus, min_matches

GOAL = 8.0
QUERIES, ROWS, DIMENSIONS, SAMPLE, REPEATS = 1_000, 200_000, 90, 50, 5
LEVELS = [0.2, 0.5, 0.3]
DENSE = [0.12, 0.7, 0.18]
LEAST = min_matches(DIMENSIONS, 0.6)
LIMIT = 64


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def draw(rows: int, chances: Sequence[float], seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.searchsorted(np.cumsum(chances)[:2], random.random((rows, DIMENSIONS), np.float32)).astype(np.uint8) + 1


def hot(levels: np.ndarray) -> np.ndarray:
    return np.concatenate([levels == level for level in (1, 2, 3)], 1).astype(np.float32)


def by_numpy(queries: np.ndarray, blocks: list[np.ndarray]) -> np.ndarray:
    counts, room = np.zeros(len(queries), np.int64), np.empty((len(queries), blocks[0].shape[1]), np.float32)
    for block in blocks:
        out = np.matmul(queries, block, out=room[:, : block.shape[1]])
        counts += np.count_nonzero(out > LEAST - 0.5, axis=1)
    return counts


def by_torch(queries: np.ndarray, blocks: list[np.ndarray]) -> np.ndarray:
    import torch

    torch.set_num_threads(1)
    left, counts = torch.from_numpy(queries), torch.zeros(len(queries), dtype=torch.int64)
    for block in blocks:
        counts += ((left @ torch.from_numpy(block)) > LEAST - 0.5).sum(1)
    return counts.numpy()


def fastest_gemm(levels: np.ndarray) -> tuple[str, Callable[[], np.ndarray]]:
    """The name of the fastest of the dense ways on a part of the rows, and that way over all rows."""
    queries, trials = hot(levels[:QUERIES]), {}
    for size in (1024, 4096):
        part = cut(levels[: 8 * 4096], size)
        for way in (by_numpy, by_torch):
            way(queries, part[:1])
            trials[way, size] = median(seconds(lambda way=way, part=part: way(queries, part)) for _ in range(3))
    way, size = min(trials, key=trials.__getitem__)
    blocks = cut(levels, size)
    return f"{way.__name__}, blocks of {size} rows", lambda: way(queries, blocks)


def cut(levels: np.ndarray, size: int) -> list[np.ndarray]:
    return [np.ascontiguousarray(hot(levels[i : i + size]).T) for i in range(0, len(levels), size)]


def compare(levels: np.ndarray) -> dict[str, object]:
    packed = pack(levels)
    corpus = Corpus(transposed(packed), np.arange(len(levels)), DIMENSIONS)
    corpus.count(packed[0], LEAST)
    gemm_name, gemm = fastest_gemm(levels)
    counts: list[int] = []
    ours, dense = [], []
    for _ in range(REPEATS):
        dense.append(seconds(gemm))
        ours.append(
            seconds(lambda: counts.__setitem__(slice(None), [corpus.count(q, LEAST) for q in packed[:QUERIES]]))
        )
    pairs = QUERIES * len(levels)
    return {
        "ratio_vs_gemm": median(d / o for d, o in zip(dense, ours, strict=True)),
        "ratio_best_of_each": min(dense) / min(ours),
        "exact": counts == gemm().tolist() and exact(corpus, levels, counts),
        "bytes_per_row": corpus.words.nbytes / len(levels),
        "pairs_per_second": pairs / median(ours),
        "gemm_pairs_per_second": pairs / median(dense),
        "gemm": gemm_name,
        "gemm_bytes_per_row": 4 * 3 * DIMENSIONS,
        "queries": QUERIES,
        "rows": len(levels),
        "hits": sum(counts),
    }


def exact(corpus: Corpus, levels: np.ndarray, counts: list[int]) -> bool:
    """Counts, rows and matches of a sample of queries against integer comparisons of the levels."""
    for query in range(0, QUERIES, QUERIES // SAMPLE):
        same = (levels == levels[query]).sum(1, dtype=np.int64)
        passing = np.flatnonzero(same >= LEAST)
        rows, matches = corpus.find(corpus.words[:, query], -1, 0, LEAST, len(levels))
        if counts[query] != len(passing) or rows.tolist() != passing.tolist() or (matches != same[passing]).any():
            return False
    return True


def synthetic(rows: int, part: int = 500_000) -> np.ndarray:
    """Packed words of uniform levels, part by part, as the levels themselves would not fit."""
    random, words = np.random.default_rng(0), np.empty((3, rows), np.uint64)
    for begin in range(0, rows, part):
        words[:, begin : begin + part] = pack(random.integers(1, 4, (part, DIMENSIONS), np.uint8)).T
    return words


def scale() -> dict[str, float]:
    """Seconds per pair and bytes per row, at 1 and 5 million rows."""
    found: dict[str, float] = {}
    words = synthetic(5_000_000)
    sizes = {"1m": words[:, :1_000_000].copy(), "5m": words}
    corpora = {size: Corpus(part, np.arange(part.shape[1]), DIMENSIONS) for size, part in sizes.items()}
    times: dict[str, list[float]] = {size: [] for size in sizes}
    for _ in range(REPEATS):
        for size, corpus in corpora.items():
            queries = [words[:, i].copy() for i in range(100_000_000 // len(corpus.posts))]
            spent = seconds(lambda corpus=corpus, queries=queries: [corpus.count(q, LEAST) for q in queries])
            times[size].append(1e9 * spent / len(queries) / len(corpus.posts))
    for size, corpus in corpora.items():
        found[f"ns_per_pair_{size}"] = median(times[size])
        found[f"bytes_per_row_{size}"] = corpus.words.nbytes / len(corpus.posts)
    found["linear_time_1m_5m"] = median(five / one for one, five in zip(times["1m"], times["5m"], strict=True))
    return found


def finds() -> dict[str, float]:
    """Microseconds of a search as construction does it: 64 hits with an anchor, hits being dense or rare."""
    found = {}
    for name, chances in {"dense": DENSE, "sparse": LEVELS}.items():
        packed = pack(draw(ROWS, chances))
        corpus = Corpus(transposed(packed), np.arange(ROWS) // 3, DIMENSIONS)
        corpus.find(packed[0], 0, 0, LEAST, LIMIT, anchor=(1, 1))
        searches = [(packed[i], i // 3, 977 * i, LEAST, LIMIT, None, (i % DIMENSIONS, 1)) for i in range(300)]
        spent = [seconds(lambda c=corpus, s=searches: [c.find(*search) for search in s]) for _ in range(REPEATS)]
        found[f"find_{name}_us"] = 1e6 * median(spent) / len(searches)
        found[f"find_{name}_hits"] = float(np.mean([len(corpus.find(*search)[0]) for search in searches]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    told = parser.parse_args()
    threadpool_limits(1)
    figures = {**compare(draw(ROWS, LEVELS)), **scale(), **finds(), "threads": 1, "goal_ratio": GOAL}
    for key, value in figures.items():
        print(f"{key:24} {value:,.4g}" if isinstance(value, float) else f"{key:24} {value}")
    if told.json:
        told.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
