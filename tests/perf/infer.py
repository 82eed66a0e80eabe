"""Inferring directions of many users, after annotation: votes of 16 items on 90 dimensions -> posterior, directions.

    python tests/perf/infer.py --json figures.json

One core, one thread; CPU seconds of the process, because the machine may be shared; medians of `REPEATS` rounds. The
array path is what a job runs (votes as int8), by number of latent classes; the record path starts from `Persona`
objects. Beside them the obvious way: the paper's vote, one persona after the other.
"""

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})

import numpy as np

from persona_rm.inferrers import INFERRERS
from persona_rm.inferrers.calibration import Calibration
from persona_rm.inferrers.em import GENERIC
from persona_rm.inferrers.model import PreferenceModel, count
from persona_rm.inferrers.posterior import PosteriorConfig, PosteriorInferrer
from persona_rm.space import load_space
from persona_rm.types import Pair, Persona, Ugc

GOAL = 20_000.0
USERS, ITEMS, REPEATS = 20_000, 16, 5
RECORDS, ALONE = 2_000, 500
VOTES = [0.10, 0.80, 0.10]
SPACE = load_space("alignx90")


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def typical(work: Callable[[], object], repeats: int = REPEATS) -> float:
    work()
    return median(seconds(work) for _ in range(repeats))


def draw(users: int) -> tuple[np.ndarray, np.ndarray]:
    """Votes (n, I, D) and the source of each item (n, I): UGC, then as many pairs."""
    votes = np.random.default_rng(0).choice(np.array([-1, 0, 1], np.int8), p=VOTES, size=(users, ITEMS, len(SPACE)))
    return votes, np.tile(np.repeat(np.arange(2), ITEMS // 2), (users, 1))


def inferrer(classes: int) -> PosteriorInferrer:
    """As after `fit`: classes that differ, and a temperature."""
    rng = np.random.default_rng(classes)
    found = PosteriorInferrer(PosteriorConfig(), SPACE)
    tables = np.tile(GENERIC, (len(found.sources), len(SPACE), 1, 1))
    priors = np.maximum(rng.dirichlet([1, 4, 1], (classes, len(SPACE))), 1e-3)
    priors /= priors.sum(-1, keepdims=True)
    found.model = PreferenceModel(found.sources, tables, priors, rng.dirichlet(np.full(classes, 5.0)))
    found.calibration = Calibration(1.3)
    return found


def persona(user: int, votes: np.ndarray) -> Persona:
    rows = [tuple(row) for row in votes.tolist()]
    half = len(rows) // 2
    ugc = tuple(Ugc("a prompt", f"comment {user} {i}", row) for i, row in enumerate(rows[:half]))
    pairs = tuple(Pair("a prompt", f"this {user} {i}", f"that {i}", row) for i, row in enumerate(rows[half:]))
    return Persona(f"user{user}", ugc, pairs)


def stages(member: PosteriorInferrer, votes: np.ndarray, sources: np.ndarray) -> dict[str, float]:
    """Where the time goes, in seconds."""
    counts = count(votes, sources, len(member.sources))
    evidence = member.evidence(counts)
    raw = member.model.marginals(evidence)
    work: dict[str, Callable[[], object]] = {
        "count": lambda: count(votes, sources, len(member.sources)),
        "probabilities": lambda: member.probabilities(counts),
        "of which evidence": lambda: member.evidence(counts),
        "of which marginals": lambda: member.model.marginals(evidence),
        "of which calibration": lambda: member.calibration(raw),
        "decide": lambda: member.decide(raw),
    }
    return {name: typical(one, 3) for name, one in work.items()}


def check(member: PosteriorInferrer, votes: np.ndarray, sources: np.ndarray, users: list[Persona]) -> None:
    """The array path and the record path say the same."""
    n = len(users)
    p = member.probabilities(count(votes[:n], sources[:n], len(member.sources)))
    by_record = member.infer_many(users)
    np.testing.assert_allclose(p, [found.probabilities for found in by_record], atol=1e-9)
    alone = [member.infer(who) for who in users[:20]]
    np.testing.assert_allclose(p[:20], [found.probabilities for found in alone], atol=1e-9)
    assert member.decide(p).tolist() == [list(found.directions) for found in by_record]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--profile", action="store_true", help="also print seconds by stage")
    told = parser.parse_args()
    votes, sources = draw(USERS)
    users = [persona(i, votes[i]) for i in range(RECORDS)]
    figures: dict[str, float] = {"users": USERS, "items": ITEMS, "goal_users_per_second": GOAL}
    for classes in (1, 4, 16):
        member = inferrer(classes)
        check(member, votes, sources, users[:200])
        spent = typical(lambda one=member: one.decide(one.probabilities(count(votes, sources, len(one.sources)))))
        figures[f"users_per_second_{classes}_classes"] = USERS / spent
        figures[f"records_per_second_{classes}_classes"] = RECORDS / typical(
            lambda one=member: one.infer_many(users), 3
        )
        if told.profile:
            for stage, took in stages(member, votes, sources).items():
                print(f"{classes:2} classes, {USERS} users, {stage:22} {took:6.3f} s")
    vote = INFERRERS.load("vote")
    rule = vote(vote.Config(), SPACE)
    figures["vote_one_by_one_per_second"] = ALONE / typical(lambda: [rule.infer(who) for who in users[:ALONE]], 3)
    slowest = min(value for key, value in figures.items() if key.startswith("users_per_second"))
    figures["ratio_vs_vote"] = slowest / figures["vote_one_by_one_per_second"]
    for key, value in figures.items():
        print(f"{key:32} {value:,.4g}")
    if told.json:
        told.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
