"""64 concurrent single requests against one at a time, through a reward actor with an embedding method.

    python tests/perf/batcher.py [--json FILE] [--words 8 32] [--rounds 5]

`pba_linear` reads levels with the packaged MiniLM encoder; the actor is the real one, in this process. Every text is
new, within and between rounds, so neither de-duplication nor the encoder's cache helps. Lengths vary by half.

`ratio_64`       rewards per second of 64 callers, each with one call open / those of one caller without any batching
                 (max_rows 1, max_wait 0); the first of `--words`, the others as `ratio_64_w<words>`. Goal 5.
`limit`          what batching gives the bare method here: its seconds per row, one row / `max_rows` rows at a time. It
                 falls as texts grow: a long text fills the cores alone. `reached` is ratio_64 / limit.
`ratio_64_same`  the same against one caller of the same actor, who waits `max_wait` in vain for a second request.
`p99_over_p50`   latency of the 64 callers after their first call; the worst of all lengths. Goal under 10.
`lost`           calls that ended with an error, or not with the reward that their text has alone. Goal 0.
`overhead_us`    microseconds per call of the batcher itself: 64 callers, a scorer that does nothing.

Ratios are medians over rounds, in which both sides take turns, so that other load on the machine affects both.
"""

import argparse
import asyncio
import json
import math
import os
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from itertools import count, islice
from pathlib import Path
from random import Random
from statistics import median

from persona_rm.bundle import User, write_bundle
from persona_rm.serving.actor.batcher import MicroBatcher
from persona_rm.serving.actor.reward_actor import RewardActor
from persona_rm.space import load_space
from persona_rm.types import Persona, RewardRequest, RewardResult

CALLERS, USERS = 64, 8
WORDS = ["tea", "rain", "people", "city", "quiet", "money", "friends", "music", "work", "evening", "honest", "laugh"]
NUMBERS = count()
Spent = list[tuple[float, RewardRequest, RewardResult | Exception]]
"""Seconds, what was asked, and how it ended."""


def texts(words: int, seed: int) -> Iterator[RewardRequest]:
    """An endless iterator of new answers of about `words` words."""
    draw = Random(seed)
    while True:
        n = max(round(words * draw.uniform(0.5, 1.5)), 2)
        text = f"{' '.join(draw.choices(WORDS, k=n - 1))} {next(NUMBERS)}"
        yield RewardRequest(f"u{draw.randrange(USERS)}", "What? ", text)


def make(folder: Path) -> Path:
    """A bundle with a few users."""
    size = len(load_space("alignx90"))
    users = [User(Persona(f"u{i}", directions=tuple(Random(i).choices([-1, 0, 1], k=size)))) for i in range(USERS)]
    return write_bundle(folder, users, method={"name": "pba_linear"}, annotator={"name": "encoder"})


async def closed(
    score: Callable[[RewardRequest], Awaitable[RewardResult]], callers: int, n: int, requests: Iterator[RewardRequest]
) -> tuple[float, Spent]:
    """`n` calls, `callers` of them under way: calls per second, and the calls in the order of their beginning."""
    spent: Spent = []
    left = iter(range(n))

    async def caller() -> None:
        for _ in left:
            request, began = next(requests), time.perf_counter()
            try:
                end: RewardResult | Exception = await score(request)
            except Exception as error:  # noqa: BLE001 - counted
                end = error
            spent.append((time.perf_counter() - began, request, end))

    started = time.perf_counter()
    await asyncio.gather(*[caller() for _ in range(callers)])
    return n / (time.perf_counter() - started), spent


def lost(actor: RewardActor, spent: Spent, asked: int) -> int:
    """Calls without their own reward; a text has the reward that it has alone."""
    alone = actor.bundle.score
    good = [
        isinstance(end, RewardResult) and math.isclose(end.reward, alone([request])[0].reward, abs_tol=1e-9)
        for _, request, end in spent
    ]
    return asked - sum(good)


def bare(actor: RewardActor, rows: int, times: int, requests: Iterator[RewardRequest]) -> float:
    """Seconds per row of the method, `rows` at a time."""
    batches = [list(islice(requests, rows)) for _ in range(times)]
    started = time.perf_counter()
    for batch in batches:
        actor.bundle.score(batch)
    return (time.perf_counter() - started) / rows / times


def percentile(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return sorted(values)[min(int(share * len(values)), len(values) - 1)]


async def measure(actor: RewardActor, single: RewardActor, words: int, rounds: int, n: int) -> dict[str, float]:
    """The figures of one length."""
    requests, few, rows = texts(words, words), max(n // 16, 8), actor.batcher.max_rows
    ratios, same, limits, seconds, rates, missing = [], [], [], [], [], 0
    for _ in range(rounds):
        alone, first = await closed(single.score, 1, few, requests)
        waits, second = await closed(actor.score, 1, few, requests)
        together, third = await closed(actor.score, CALLERS, n, requests)
        limits.append(bare(actor, 1, few, requests) / bare(actor, rows, -(-4 * few // rows), requests))
        ratios.append(together / alone)
        same.append(together / waits)
        rates.append(together)
        seconds += [row[0] for row in third[CALLERS:]]
        missing += lost(single, first, few) + lost(actor, second, few) + lost(actor, third, n)
    p50, p99 = median(seconds), percentile(seconds, 0.99)
    return {
        "ratio_64": median(ratios), "limit": median(limits), "reached": median(ratios) / median(limits),
        "ratio_64_same": median(same), "rewards_per_s": median(rates), "p50_ms": 1000 * p50, "p99_ms": 1000 * p99,
        "p99_over_p50": p99 / p50, "lost": missing,
    }  # fmt: skip


async def overhead(n: int = 20_000) -> float:
    """Microseconds of the batcher per call."""
    batcher: MicroBatcher[RewardRequest, RewardRequest] = MicroBatcher(list, 64, 0.001)
    rate, _ = await closed(batcher.submit, CALLERS, n, texts(8, 0))  # type: ignore[arg-type]
    return 1e6 / rate


async def compare(folder: Path, told: argparse.Namespace) -> dict[str, float]:
    """All figures."""
    bundle = str(make(folder / "bundle"))
    actor = RewardActor(bundle, "together", max_rows=told.max_rows, max_wait=told.max_wait)
    single = RewardActor(bundle, "alone", max_rows=1, max_wait=0.0)
    await actor.warm()
    await single.warm()
    figures: dict[str, float] = {"overhead_us": await overhead()}
    found = {words: await measure(actor, single, words, told.rounds, told.calls) for words in told.words}
    for words, values in found.items():
        suffix = "" if words == told.words[0] else f"_w{words}"
        figures |= {key + suffix: value for key, value in values.items()}
    every = list(found.values())
    figures["p99_over_p50"], figures["lost"] = max(f["p99_over_p50"] for f in every), sum(f["lost"] for f in every)
    return figures | {"words": told.words[0], "load": os.getloadavg()[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--words", type=int, nargs="+", default=[8, 32], help="mean length of the answers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=384, help="of the 64 callers, per round")
    parser.add_argument("--max-rows", type=int, default=64, help="of the actor; 64 is its default")
    parser.add_argument("--max-wait", type=float, default=0.003, help="seconds; 0.003 is its default")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(compare(Path(folder), told))
    for key, value in figures.items():
        print(f"{key:20}{value:>12.3f}")
    print(f"ratio: {figures['ratio_64']:.1f} ({CALLERS} callers against one, answers of {told.words[0]} words)")
    if told.json:
        told.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
