"""Clustering one post of 2 to 8 responses: ours against scikit-learn's KMeans, posts per second and mean inertia.

python tests/perf/kmeans.py
"""

import time
import warnings

import numpy as np
from sklearn.cluster import KMeans

from persona_rm.construct.steps import cluster, one_hot

POSTS = 150


def inertia(points: np.ndarray, labels: np.ndarray) -> float:
    return sum(((points[labels == c] - points[labels == c].mean(0)) ** 2).sum() for c in set(labels.tolist()))


def main() -> None:
    warnings.simplefilter("ignore")
    random = np.random.default_rng(0)
    draw = {"p": [0.05, 0.9, 0.05], "size": 90}
    posts = [
        [tuple(random.choice([1, 2, 3], **draw).tolist()) for _ in range(random.integers(3, 9))] for _ in range(POSTS)
    ]
    for n in range(1, 9):
        cluster([(1,) * i + (2,) * (8 - i) for i in range(n)], 3, 0, "warm")
    started = time.perf_counter()
    ours = [cluster(levels, 3, 0, str(i)) for i, levels in enumerate(posts)]
    fast = POSTS / (time.perf_counter() - started)
    points = [one_hot(levels) for levels in posts]
    started = time.perf_counter()
    theirs = [KMeans(3, n_init=10, random_state=0).fit_predict(p) for p in points]
    slow = POSTS / (time.perf_counter() - started)
    mine = np.mean([inertia(p, np.array(labels)) for p, labels in zip(points, ours, strict=True)])
    other = np.mean([inertia(p, labels) for p, labels in zip(points, theirs, strict=True)])
    print(
        f"ours {fast:.0f} posts/s, inertia {mine:.3f}; scikit-learn {slow:.0f}, {other:.3f}; ratio {fast / slow:.0f}"
    )


if __name__ == "__main__":
    main()
