"""Cleaning against the obvious way, same answer: one combined pass over identifiers, banding over MinHash signatures.

python tests/perf/clean.py [--json FILE]
"""

import argparse
import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from persona_rm.construct.cleaning import pii
from persona_rm.construct.cleaning.config import CleanConfig
from persona_rm.construct.cleaning.duplicates import groups, signature
from persona_rm.construct.cleaning.identifiers import TABLE
from persona_rm.construct.cleaning.links import LINK
from persona_rm.construct.cleaning.numerals import AMERICAN, CARD, INTERNATIONAL, IPV4, NATIONAL

TEXTS, REPEATS, PAIRED, THRESHOLD = 4000, 3, 2000, 0.8
PROSE = (
    "the a of and to in is it that was for on with as but they have this from not what all were when we there can an "
    "your which their said if will each about how up out them then many some so these would other into has more two "
    "like him see time could no make than first been its who now people my made over did down only way find use may "
    "water long little very after words called just where most know game year think really because something"
)
EXTRAS = (
    "in 2015",
    "3-2",
    "$1,299.99",
    "/u/somebody_1",
    "bob@example.org",
    "212-555-0123",
    "https://example.org/page",
)


def sentences(seed: int, words: int = 120) -> str:
    """Prose of a forum: one text in ten carries a number, a name or a link."""
    r = random.Random(seed)
    text = r.choices(PROSE.split(), k=words)
    if seed % 10 == 0:
        text[r.randrange(words)] = r.choice(EXTRAS)
    return " ".join(text)


def one_after_another() -> Callable[[str], int]:
    """The same patterns, each over the whole text."""
    singles = [re.compile(p) for p in (pii.EMAIL, pii.SPELLED, LINK, pii.USER, pii.HANDLE, pii.NETWORK)]
    singles += [IPV4, CARD, AMERICAN, INTERNATIONAL, NATIONAL, *(re.compile(row.pattern) for row in TABLE)]

    def search(text: str) -> int:
        lower = text.lower()
        return sum(len(pattern.findall(lower)) for pattern in singles)

    return search


def seconds(work: Callable[[], Any]) -> float:
    """The best of `REPEATS`."""
    best = float("inf")
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - started)
    return best


def identifiers() -> dict[str, float]:
    texts = [sentences(seed) for seed in range(TEXTS)]
    size, single = sum(map(len, texts)) / 1000, one_after_another()
    found = [bool(pii.find(text)) for text in texts]
    fast = size / seconds(lambda: [pii.scrub(text) for text in texts])
    slow = size / seconds(lambda: [single(text) for text in texts])
    assert all(single(text) for text, hit in zip(texts, found, strict=True) if hit)
    return {"scrub_kb_per_s": fast, "one_by_one_kb_per_s": slow, "scrub_ratio": fast / slow}


def all_pairs(signatures: Any) -> list[int]:
    """Components over all pairs; the representative is the smallest row."""
    label = np.arange(len(signatures))
    for row in range(len(signatures)):
        for other in np.flatnonzero((signatures == signatures[row]).mean(1) >= THRESHOLD):
            low, high = sorted((label[row], label[other]))
            label[label == high] = low
    return label.tolist()


def duplicates() -> dict[str, float]:
    config = CleanConfig(near_duplicates=THRESHOLD)
    texts = [sentences(seed) for seed in range(PAIRED // 2)]
    texts += [" ".join([*text.split()[:-1], "edited"]) for text in texts]
    started = time.perf_counter()
    signatures = np.stack([signature(text, config) for text in texts])
    rate = len(texts) / (time.perf_counter() - started)
    ids = [f"{row:06}" for row in range(len(texts))]
    assert groups(ids, signatures, THRESHOLD).tolist() == all_pairs(signatures)
    fast = seconds(lambda: groups(ids, signatures, THRESHOLD))
    slow = seconds(lambda: all_pairs(signatures))
    return {"signatures_per_s": rate, "groups_s": fast, "all_pairs_s": slow, "groups_ratio": slow / fast}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    target = parser.parse_args().json
    figures = identifiers() | duplicates()
    print(
        f"scrub {figures['scrub_kb_per_s']:.0f} KB/s, one pattern after another {figures['one_by_one_kb_per_s']:.0f}, "
        f"ratio {figures['scrub_ratio']:.1f}\n{figures['signatures_per_s']:.0f} signatures/s; groups of {PAIRED} "
        f"texts {figures['groups_s'] * 1000:.0f} ms, all pairs {figures['all_pairs_s'] * 1000:.0f} ms, "
        f"ratio {figures['groups_ratio']:.0f}"
    )
    if target:
        target.write_text(json.dumps({name: round(value, 4) for name, value in figures.items()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
