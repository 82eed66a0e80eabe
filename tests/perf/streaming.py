"""One new item of a user who has many items: added to the tally, against counting everything again.

    python tests/perf/streaming.py --json figures.json

Both end with the new posterior (`of`). One thread; CPU seconds of the process, because the machine may be shared;
medians. 90 dimensions, 8 latent classes, dated items, half of them UGC. The time of an update must not grow with the
history.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import numpy as np

from persona_rm.inferrers.em import GENERIC
from persona_rm.inferrers.evidence import Item
from persona_rm.inferrers.model import PreferenceModel
from persona_rm.inferrers.posterior import PosteriorConfig, PosteriorInferrer
from persona_rm.inferrers.tally import Tally
from persona_rm.space import load_space

GOAL = 100.0
SIZES, CLASSES = (10, 1_000, 10_000), 8
UPDATES, REPEATS = 200, 9
SPACE = load_space("alignx90")


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def items(n: int) -> list[Item]:
    votes = np.random.default_rng(0).choice([-1, 0, 1], p=[0.1, 0.8, 0.1], size=(n, len(SPACE))).tolist()
    first = datetime(2020, 1, 1, tzinfo=UTC)
    dates = [(first + timedelta(hours=i)).isoformat() for i in range(n)]
    return [Item(f"{i:016x}", ("ugc", "pair")[i % 2], tuple(votes[i]), dates[i]) for i in range(n)]


def inferrer() -> PosteriorInferrer:
    rng = np.random.default_rng(0)
    found = PosteriorInferrer(PosteriorConfig(half_life=365), SPACE)
    priors = np.maximum(rng.dirichlet([1, 4, 1], (CLASSES, len(SPACE))), 1e-3)
    tables = np.tile(GENERIC, (len(found.sources), len(SPACE), 1, 1))
    shares = np.full(CLASSES, 1 / CLASSES)
    found.model = PreferenceModel(found.sources, tables, priors / priors.sum(-1, keepdims=True), shares)
    return found


def measure(member: PosteriorInferrer, size: int) -> dict[str, float]:
    """Seconds of an update, and of what it is made of; of counting again; of naming the items behind directions."""
    every = items(size + UPDATES)
    held = Tally(len(SPACE), member.sources, member.config.half_life)
    held.add(every[:size])

    def again() -> object:
        fresh = Tally(len(SPACE), member.sources, member.config.half_life)
        fresh.add(every[: size + 1])
        return member.of(fresh)

    slow = median(seconds(again) for _ in range(REPEATS))
    added, read = [], []
    for each in every[size:]:
        added.append(seconds(lambda one=each: held.add([one])))
        read.append(seconds(lambda: member.of(held)))
    explained = median(seconds(lambda: member.of(held, explain=True)) for _ in range(REPEATS))
    fresh = Tally(len(SPACE), member.sources, member.config.half_life)
    fresh.add(every[::-1])
    np.testing.assert_allclose(member.of(fresh).probabilities, member.of(held).probabilities, atol=1e-6)
    both = median(a + b for a, b in zip(added, read, strict=True))
    return {"update": both, "add": median(added), "of": median(read), "again": slow, "explained": explained}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    told = parser.parse_args()
    member, found = inferrer(), {}
    measure(member, 10)
    for size in SIZES:
        found[size] = measure(member, size)
        one = {key: value * 1e6 for key, value in found[size].items()}
        print(
            f"ratio: {one['again'] / one['update']:.1f} ({size} items: update {one['update']:.0f} us = add "
            f"{one['add']:.0f} + posterior {one['of']:.0f}; again {one['again']:.0f} us; "
            f"with the items behind each direction {one['explained']:.0f} us)"
        )
    figures = {f"ratio_{size}_items": one["again"] / one["update"] for size, one in found.items()}
    figures |= {f"update_us_{size}_items": one["update"] * 1e6 for size, one in found.items()}
    figures |= {"growth_10_to_10000": found[10_000]["update"] / found[10]["update"], "goal_ratio_1000_items": GOAL}
    for key, value in figures.items():
        print(f"{key:24} {value:,.4g}")
    if told.json:
        told.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
