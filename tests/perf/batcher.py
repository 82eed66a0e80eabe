"""64 concurrent single requests against one at a time, through a reward actor on an embedding method, in one run.

    python tests/perf/batcher.py [--callers 64] [--rounds 12] [--words 12] [--json FILE]

The method is `bradley_terry` on the real MiniLM encoder, learned here from random comparisons; the actor is the class
that runs on Ray, in this process. All texts differ, so that nothing is remembered or shared. Three ways to score the
same number of texts are timed in turns, best of `--repeats`: one call after another (each waits `max_wait` for company
that never comes), one after another without the actor, and `--callers` callers who each ask again when answered.
`ratio_64` is throughput over the first way, `p99_over_p50` the latency of single calls while all callers are busy, and
`lost` the calls without a reward, or with another than the method gives for the text by itself. The longer the texts,
the less there is to gain: a single one then keeps the cores busy (`--words 30`). 12 words are what the rehearsal's
policy answers.
"""

import argparse
import asyncio
import json
import tempfile
import time
from itertools import count
from pathlib import Path
from random import Random

import numpy as np

from persona_rm.backends.base import Backends
from persona_rm.backends.encoder import MiniLM
from persona_rm.bundle import write_bundle
from persona_rm.methods.bradley_terry import BradleyTerry
from persona_rm.serving.actor import RewardActor
from persona_rm.serving.replies import Ask
from persona_rm.space import load_space
from persona_rm.types import Comparison, Persona

WORDS = ("the", "a", "cat", "dog", "runs", "sleeps", "quietly", "under", "blue", "table", "while", "nobody", "looks")


class Texts:
    """Never the same one twice."""

    def __init__(self, words: int) -> None:
        self.words, self.number, self.random = words, count(), Random(0)

    def __call__(self) -> str:
        size = self.random.randint(self.words // 2, 3 * self.words // 2)
        return f"{next(self.number)} " + " ".join(self.random.choices(WORDS, k=size))


def make_actor(folder: Path, texts: Texts) -> RewardActor:
    """An actor whose method has learned something from random comparisons."""
    space = load_space("alignx90")
    method = BradleyTerry(BradleyTerry.Config(), space, Backends(encoder=MiniLM()))
    method.fit([Comparison(f"u{i}", texts(), texts(), texts()) for i in range(64)])
    method.save(folder / "bundle" / "method")
    people = [Persona(f"u{i}", directions=space.neutral) for i in range(64)]
    write_bundle(folder / "bundle", people, method={"name": "bradley_terry"}, method_dir="method")
    return RewardActor(str(folder / "bundle"), "reward-0")


async def one_by_one(actor: RewardActor, asks: list[Ask]) -> float:
    """Seconds."""
    started = time.perf_counter()
    for ask in asks:
        await actor.score(ask)
    return time.perf_counter() - started


async def together(actor: RewardActor, asks: list[Ask], callers: int) -> tuple[float, list[float], dict[int, float]]:
    """Seconds, the latency of each call, and the reward of each that got one."""
    latencies: list[float] = []
    rewards: dict[int, float] = {}

    async def caller(mine: range) -> None:
        for i in mine:
            started = time.perf_counter()
            rewards[i] = (await actor.score(asks[i], caller=str(mine.start))).reward
            latencies.append(time.perf_counter() - started)

    started = time.perf_counter()
    await asyncio.gather(*(caller(range(c, len(asks), callers)) for c in range(callers)), return_exceptions=True)
    return time.perf_counter() - started, latencies, rewards


def asks_of(texts: Texts, n: int, callers: int) -> list[Ask]:
    """A caller's requests are of one person."""
    return [Ask(f"u{i % callers}", "Tell me something.", texts()) for i in range(n)]


def lost(actor: RewardActor, asks: list[Ask], rewards: dict[int, float]) -> int:
    """Calls without the reward that the text has by itself."""
    alone = [score.rewards[0] for score in actor.bundle.score([(a.user, a.prompt, a.response) for a in asks])]
    return sum(i not in rewards or abs(rewards[i] - right) > 1e-4 for i, right in enumerate(alone))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in {"callers": 64, "rounds": 12, "words": 12, "repeats": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    texts, n = Texts(args.words), args.callers * args.rounds
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(make_actor(Path(folder), texts), texts, n, args.callers, args.repeats))
    print(f"one at a time {figures['one_per_s']:.0f} a second, without the actor {figures['bare_per_s']:.0f}")
    print(f"{args.callers} callers {figures['many_per_s']:.0f} a second, mean batch {figures['mean_batch']:.1f}")
    print(f"ratio {figures['ratio_64']:.2f} (without the actor {figures['ratio_bare']:.2f}), lost {figures['lost']}")
    print(f"p50 {figures['p50_ms']:.1f} ms, p99 {figures['p99_ms']:.1f} ms, ratio {figures['p99_over_p50']:.2f}")
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


async def measure(actor: RewardActor, texts: Texts, n: int, callers: int, repeats: int) -> dict[str, float]:
    """All figures."""
    await actor.warm()
    one, bare, many, latencies, missing = [], [], [], [], 0
    for _ in range(repeats):
        one.append(await one_by_one(actor, asks_of(texts, n // 8, callers)) * 8 / n)
        started = time.perf_counter()
        for ask in asks_of(texts, n // 8, callers):
            actor.bundle.score([(ask.user, ask.prompt, ask.response)])
        bare.append((time.perf_counter() - started) * 8 / n)
        actor.batcher.sizes = []
        asks = asks_of(texts, n, callers)
        seconds, waited, rewards = await together(actor, asks, callers)
        many.append(seconds / n)
        sizes = list(actor.batcher.sizes)
        latencies.append(waited)
        missing += lost(actor, asks, rewards)
    p50, p99 = np.percentile(latencies[int(np.argmin(many))], [50, 99])
    return {
        "ratio_64": min(one) / min(many), "p99_over_p50": float(p99 / p50), "lost": missing,
        "ratio_bare": min(bare) / min(many), "one_per_s": 1 / min(one), "bare_per_s": 1 / min(bare),
        "many_per_s": 1 / min(many), "mean_batch": sum(sizes) / len(sizes), "p50_ms": 1e3 * p50, "p99_ms": 1e3 * p99,
    }  # fmt: skip


if __name__ == "__main__":
    main()
