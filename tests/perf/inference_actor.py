"""The inference actor on a real Ray cluster: concurrent callers against one call after the other.

python tests/perf/inference_actor.py    # ratio: N (64 callers at once, batched / one by one, unbatched)

Nothing is cached (`refresh: 0`): every answer is a look-up in SQLite and a posterior of the user's evidence.
"""

import argparse
import tempfile
import time
from pathlib import Path

import ray

from persona_rm.bundle import load_bundle, write_bundle
from persona_rm.construct.job import local_ray
from persona_rm.profiles import open_store
from persona_rm.serving.pool.pool import INFERENCE, Pool, start_inference
from persona_rm.types import Persona, Ugc

USERS, ITEMS, CALLERS = 256, 32, 64


def make(folder: Path) -> Path:
    """A bundle whose users are in a profile store."""
    url = f"sqlite:{folder}/users.sqlite"
    open_store(url, create=True).close()
    bundle = write_bundle(folder, [], method="contrast", profiles=url, refresh=0)
    loaded = load_bundle(bundle)
    posterior = loaded.inferrer.stateful() if loaded.inferrer is not None else None
    assert posterior is not None
    size = len(loaded.space)
    for n in range(USERS):
        votes = [tuple((i + j + n) % 9 == 0 for i in range(size)) for j in range(ITEMS)]
        ugc = tuple(Ugc("q", f"{n} {j}", tuple(map(int, vote))) for j, vote in enumerate(votes))
        assert loaded.store is not None
        loaded.store.put([posterior.state(f"u{n}", posterior.tally(Persona(f"u{n}", ugc)))])
    return bundle


def measure(bundle: Path, callers: int, rounds: int, **options: float) -> float:
    """Directions per second, each asked for in a call of its own, `callers` of them under way."""
    pool: Pool = start_inference(bundle, namespace=f"perf{time.time_ns()}", **options)
    handle = ray.get_actor(INFERENCE, namespace=pool.namespace)
    asked = [f"u{i % USERS}" for i in range(rounds * callers)]
    ray.get([handle.directions.remote([user]) for user in asked[:callers]])
    start, under_way = time.perf_counter(), []
    for user in asked:
        if len(under_way) == callers:
            done, under_way = ray.wait(under_way, num_returns=1)
            ray.get(done)
        under_way.append(handle.directions.remote([user]))
    ray.get(under_way)
    seconds = time.perf_counter() - start
    pool.stop()
    return len(asked) / seconds


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as folder, local_ray(num_cpus=2, num_gpus=0):
        bundle = make(Path(folder) / "bundle")
        alone = measure(bundle, 1, 300, max_rows=1, max_wait=0)
        unbatched = measure(bundle, CALLERS, 8, max_rows=1, max_wait=0)
        batched = measure(bundle, CALLERS, 30)
    print(f"ratio: {batched / alone:.1f} ({CALLERS} callers, batched {batched:,.0f}/s; one by one {alone:,.0f}/s)")
    print(f"ratio: {batched / unbatched:.1f} (the same callers without batches {unbatched:,.0f}/s)")


if __name__ == "__main__":
    main()
