"""The cluster bootstrap of benchmarks.figures against a plain loop over resamples and users.

python tests/perf/bootstrap.py    # one line per size: ratio: N (loop seconds / library seconds)
"""

import argparse
import time

import numpy as np

from persona_rm.benchmarks.figures import bootstrap_ratio


def loop(values: np.ndarray, units: list[str], resamples: int, seed: int) -> tuple[float, float]:
    """What one writes first: draw users, gather their cases, take the mean, again."""
    rng, groups = np.random.default_rng(seed), {}
    for unit, value in zip(units, values, strict=True):
        groups.setdefault(unit, []).append(value)
    names, means = sorted(groups), []
    for _ in range(resamples):
        drawn = [value for i in rng.integers(len(names), size=len(names)) for value in groups[names[i]]]
        means.append(sum(drawn) / len(drawn))
    return float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))


def measure(users: int, each: int, resamples: int = 2000) -> None:
    rng = np.random.default_rng(0)
    values = (rng.random(users * each) < 0.7).astype(float)
    units = [f"user {i // each}" for i in range(users * each)]
    start = time.perf_counter()
    slow = loop(values, units, resamples, 0)
    middle = time.perf_counter()
    _, *fast = bootstrap_ratio(values, np.ones(len(values)), units, 0, resamples)
    end = time.perf_counter()
    apart = max(abs(a - b) for a, b in zip(slow, fast, strict=True))
    print(
        f"ratio: {(middle - start) / (end - middle):.1f} ({users} users x {each} cases, {resamples} resamples: "
        f"loop {middle - start:.2f} s, library {end - middle:.3f} s, intervals {apart:.4f} apart)"
    )


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    measure(100, 5)
    measure(500, 4)
