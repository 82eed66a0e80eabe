"""Preference pairs of a post (paper, section 4.1): responses of different clusters, drawn or picked by contrast."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from persona_rm.construct.hashing import seeded
from persona_rm.construct.pairing.kmeans import Labels, clusters
from persona_rm.construct.pairing.rules import contrast, levels_of
from persona_rm.construct.records import LabelledPair
from persona_rm.types import Drop, Levels, Thread

if TYPE_CHECKING:
    from persona_rm.construct.config import ConstructConfig

COMPARED = 64
"""`pick: margin` compares so many responses of a post, drawn by a seed where there are more."""
# A post may have fewer different pairs than `pairs_per_post` asks for, so the draws are bounded.
TRIES = 8


def pairs(threads: Sequence[Thread], config: ConstructConfig, seed: int) -> list[tuple[LabelledPair, ...] | Drop]:
    """The pairs of each thread, or the reason why there is none; clusters of all threads in one batch.

    A thread's pairs depend on (seed, thread) alone.
    """
    every = [[levels_of(comment) for comment in thread.comments] for thread in threads]
    labels_of = clusters(every, config.n_clusters, seed, [thread.id for thread in threads])
    return [
        _pairs(t, levels, labels, config, seed) for t, levels, labels in zip(threads, every, labels_of, strict=True)
    ]


def _pairs(
    thread: Thread, levels: list[Levels], labels: Labels, config: ConstructConfig, seed: int
) -> tuple[LabelledPair, ...] | Drop:
    if len(levels) < 2:
        return Drop("pair", thread.id, "fewer than two usable responses")
    if len(set(labels)) < 2:
        return Drop("pair", thread.id, "no contrast between the responses")
    choose = _by_margin if config.pick == "margin" else _uniform
    made = [_labelled(thread, levels, *pair) for pair in choose(thread.id, levels, labels, config, seed)]
    kept = tuple(pair for pair in made if sum(map(bool, pair.directions)) >= config.min_contrast)
    return kept or Drop("pair", thread.id, f"fewer than {config.min_contrast} dimensions differ")


def _labelled(thread: Thread, levels: list[Levels], chosen: int, rejected: int) -> LabelledPair:
    directions = contrast(levels[chosen], levels[rejected])
    return LabelledPair(thread.prompt, thread.comments[chosen], thread.comments[rejected], directions)


def _uniform(
    id_: str, levels: list[Levels], labels: Labels, config: ConstructConfig, seed: int
) -> list[tuple[int, int]]:
    """Two clusters, then one response of each, all drawn uniformly; the same two responses make one pair only."""
    random, made = seeded(seed, id_, "pair"), dict[frozenset[int], tuple[int, int]]()
    for _ in range(TRIES * config.pairs_per_post):
        drawn = random.choice(sorted(set(labels)), 2, replace=False)
        chosen, rejected = (int(random.choice(np.flatnonzero(np.equal(labels, cluster)))) for cluster in drawn)
        # The same two responses in the other order are the same pair: the first draw decides which one is chosen.
        made.setdefault(frozenset((chosen, rejected)), (chosen, rejected))
        if len(made) == config.pairs_per_post:
            break
    return list(made.values())


def _by_margin(
    id_: str, levels: list[Levels], labels: Labels, config: ConstructConfig, seed: int
) -> list[tuple[int, int]]:
    """The two responses that differ on most dimensions, then the next two; who is chosen is drawn, as are ties."""
    random = seeded(seed, id_, "pair")
    some = sorted(random.permutation(len(levels))[:COMPARED].tolist())
    table = np.asarray(levels)
    across = [(a, b) for a, b in combinations(some, 2) if labels[a] != labels[b]]
    # The pairs are shuffled, and the stable sort keeps this order among equals: that is how ties are drawn.
    order = random.permutation(len(across))
    apart = np.array([(table[a] != table[b]).sum() for a, b in across])
    best = order[np.argsort(-apart[order], kind="stable")][: config.pairs_per_post]
    turned = random.random(len(best)) < 0.5
    return [across[i][::-1] if turn else across[i] for i, turn in zip(best, turned, strict=True)]
