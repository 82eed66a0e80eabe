"""Clustering posts of 8 responses (90 dimensions, K = 3) in batches, against scikit-learn's KMeans(n_init=10) by post.

    python tests/perf/kmeans.py --json figures.json

One thread each; CPU seconds of the process, because the machine may be shared; medians of `REPEATS` rounds in which
both take part. scikit-learn clusters a part of the posts, rates are per post; inertia is compared on that part. Posts
of 8 are clustered exactly, so their inertia ratio cannot exceed 1; posts of 30 show Lloyd's algorithm against its
like. Last, one post of 5,000 replies.
"""

import argparse
import json
import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

from persona_rm.construct.pairing.kmeans import cluster, clusters, one_hot
from persona_rm.types import Levels

GOAL = 100.0
DIMENSIONS, K, REPEATS = 90, 3, 5
LEVELS = [0.2, 0.5, 0.3]


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def draw(posts: int, responses: int) -> list[list[Levels]]:
    levels = np.random.default_rng(0).choice([1, 2, 3], p=LEVELS, size=(posts, responses, DIMENSIONS))
    return [[tuple(row) for row in post] for post in levels.tolist()]


def inertia(points: np.ndarray, labels: np.ndarray) -> float:
    return sum(((points[labels == c] - points[labels == c].mean(0)) ** 2).sum() for c in set(labels.tolist()))


def compare(n_posts: int, responses: int, part: int) -> tuple[float, float, float, float]:
    """Ratio of rates, ratio of inertias, our posts per second, scikit-learn's."""
    posts, ids = draw(n_posts, responses), [str(i) for i in range(n_posts)]
    points = [one_hot(post) for post in posts[:part]]
    found: list[np.ndarray] = []

    def theirs() -> None:
        found[:] = [KMeans(K, n_init=10, random_state=0).fit_predict(x) for x in points]

    clusters(posts[:1], K, 0, ids[:1])
    KMeans(K, n_init=1).fit(points[0])
    ours, slow = [], []
    for _ in range(REPEATS):
        ours.append(seconds(lambda: clusters(posts, K, 0, ids)) / n_posts)
        slow.append(seconds(theirs) / part)
    labels = clusters(posts[:part], K, 0, ids[:part])
    mine = np.mean([inertia(x, np.array(row)) for x, row in zip(points, labels, strict=True)])
    other = np.mean([inertia(x, row) for x, row in zip(points, found, strict=True)])
    ratio = median(s / o for s, o in zip(slow, ours, strict=True))
    return ratio, float(mine / other), 1 / median(ours), 1 / median(slow)


def largest() -> dict[str, float]:
    post = draw(1, 5000)[0]
    spent = seconds(lambda: cluster(post, K, 0, "t"))
    tracemalloc.start()
    cluster(post, K, 0, "t")
    peak = tracemalloc.get_traced_memory()[1]
    return {"seconds_5000_replies": spent, "peak_mb_5000_replies": peak / 1e6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    told = parser.parse_args()
    threadpool_limits(1)
    warnings.simplefilter("ignore")
    ratio, quality, ours, theirs = compare(3000, 8, 60)
    figures = {"ratio_vs_sklearn": ratio, "inertia_ratio": quality, "posts_per_second": ours}
    figures |= {"sklearn_posts_per_second": theirs, "responses": 8, "goal_ratio": GOAL}
    ratio, quality, ours, theirs = compare(300, 30, 40)
    figures |= {"ratio_30_responses": ratio, "inertia_ratio_30_responses": quality, "posts_per_second_30": ours}
    figures |= largest()
    for key, value in figures.items():
        print(f"{key:28} {value:,.4g}")
    if told.json:
        told.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
