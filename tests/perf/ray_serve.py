"""The reward pool against Ray Serve, both through handles (no HTTP), with the same reward actor class inside.

    python tests/perf/ray_serve.py [--actors 2] [--callers 16] [--seconds 15] [--json FILE]

Behind both runs the same client, with its retries and its deadline; only the transport differs. Serve gets its own
means for the same tasks: replicas, health checks, and routing by user as a multiplexed model id, so that a user's
calls go to a replica that has seen the user. Callers send one row at a time for 200 users.

`rate`       calls per second.
`p50`, `p99` milliseconds of a call.
`sticky`     share of calls that went to the user's most frequent actor.
`lost`       calls without a reward while one actor is killed with SIGKILL in the middle of a second run.
`longest`    seconds of the slowest call of that run: how long a user of the killed actor waits.
`ratio_*`    of the pool over Ray Serve.
"""

import argparse
import json
import os
import signal
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from soak import USERS, WORDS, make

from persona_rm.construct.job import local_ray
from persona_rm.serving.actor.reward_actor import LOG_FOLDER, RewardActor
from persona_rm.serving.client import RayTransport, RewardClient, Unreachable
from persona_rm.serving.pool.pool import start_pool
from persona_rm.types import RewardRequest

TAG = f"PERSONA_RM_PERF={uuid.uuid4().hex}"
Pids = Callable[[], list[int]]


def actor_pids(of: str) -> list[int]:
    """The actors of this script's cluster by the title that Ray gives their processes. The tag keeps those of other
    clusters on this machine apart."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            title = (folder / "cmdline").read_bytes().decode(errors="replace")
            if title.startswith("ray::") and of in title and TAG.encode() in (folder / "environ").read_bytes():
                pids.append(int(folder.name))
    return pids


@contextmanager
def pool(bundle: Path, actors: int, out: Path) -> Iterator[tuple[RewardClient, Pids]]:
    ours = start_pool(bundle, actors, num_cpus=0.5, run_dir=out)
    try:
        yield RewardClient(RayTransport(), deadline=120), lambda: actor_pids("RewardActor")
    finally:
        ours.stop()


@contextmanager
def ray_serve(bundle: Path, actors: int, out: Path) -> Iterator[tuple[RewardClient, Pids]]:
    from ray import serve

    @serve.deployment(num_replicas=actors, max_ongoing_requests=512, ray_actor_options={"num_cpus": 0.5})
    class Replica:
        def __init__(self) -> None:
            self.actor = RewardActor(str(bundle), f"serve-{os.getpid()}", str(out))

        @serve.multiplexed(max_num_models_per_replica=10 * USERS)
        async def user(self, name: str) -> str:
            return name

        async def score_batch(self, requests: Any) -> Any:
            await self.user(serve.get_multiplexed_model_id())
            return await self.actor.score_batch(requests)

    class ServeTransport:
        def __init__(self, handle: Any) -> None:
            self.handle = handle

        def names(self) -> list[str]:
            return ["serve"]

        def inference(self) -> None:
            return None

        def call(self, name: str, method: str, args: tuple[Any, ...], timeout: float) -> Any:
            from ray.exceptions import RayError

            handle = self.handle.options(multiplexed_model_id=args[0][0].user)
            try:
                return getattr(handle, method).remote(*args).result(timeout_s=timeout)
            except (RayError, TimeoutError) as error:
                raise Unreachable(f"{name}: {type(error).__name__}") from error

    serve.start(proxy_location="Disabled", logging_config={"log_level": "ERROR", "enable_access_log": False})
    try:
        handle = serve.run(Replica.bind(), route_prefix=None, logging_config={"enable_access_log": False})
        yield RewardClient(ServeTransport(handle), deadline=120), lambda: actor_pids("ServeReplica")
    finally:
        serve.shutdown()


def load(client: RewardClient, callers: int, seconds: float, seed: int) -> tuple[list[float], int, float]:
    """The seconds of each call, the calls without a reward, and the seconds of the whole run."""
    times: list[float] = []
    lost = [0]
    end, began = time.monotonic() + seconds, time.monotonic()

    def caller(number: int) -> None:
        draw = Random(1000 * seed + number)
        while time.monotonic() < end:
            prompt, response = (" ".join(draw.choices(WORDS.split(), k=30)) for _ in range(2))
            started = time.monotonic()
            try:
                client.reward(RewardRequest(f"u{draw.randrange(USERS)}", prompt, response))
            except Exception as error:  # noqa: BLE001 - every kind of loss is counted and told
                lost[0] += 1
                print(f"lost: {type(error).__name__}: {error}", file=sys.stderr)
            times.append(time.monotonic() - started)

    threads = [threading.Thread(target=caller, args=(i,)) for i in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times, lost[0], time.monotonic() - began


def stickiness(out: Path) -> float:
    """The share of logged rewards that the user's most frequent actor gave."""
    by_user: dict[str, Counter[str]] = defaultdict(Counter)
    for path in (out / LOG_FOLDER).glob("*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            by_user[json.loads(line)["user"]][path.stem] += 1
    return sum(max(counts.values()) for counts in by_user.values()) / sum(map(Counter.total, by_user.values()))


def measured(which: Any, bundle: Path, out: Path, args: argparse.Namespace) -> dict[str, float]:
    with which(bundle, args.actors, out) as (client, pids):
        load(client, args.callers, 3, seed=0)
        times, lost, seconds = load(client, args.callers, args.seconds, seed=1)
        times.sort()
        figures = {"rate": len(times) / seconds, "lost_at_rest": lost, "sticky": stickiness(out)}
        figures |= {f"p{q}": 1000 * times[len(times) * q // 100] for q in (50, 99)}
        killer = threading.Timer(args.seconds / 3, lambda: os.kill(pids()[0], signal.SIGKILL))
        killer.start()
        times, figures["lost"], _ = load(client, args.callers, args.seconds, seed=2)
        killer.join()
        return figures | {"longest": max(times)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--actors", type=int, default=2)
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results: dict[str, Any] = {}
    workers = {**os.environ, **dict([TAG.split("=")])}
    for name, which in (("pool", pool), ("serve", ray_serve)):
        with tempfile.TemporaryDirectory() as folder, local_ray(workers, num_cpus=4, num_gpus=0):
            bundle = make(Path(folder) / "bundle", "pba_linear")
            try:
                results[name] = measured(which, bundle, Path(folder) / "run", args)
            except Exception as error:  # noqa: BLE001
                # That it does not start beside the pinned packages is a finding, not a failure of this script.
                print(f"{name} does not start here: {(str(error).splitlines() or [type(error).__name__])[-1]}")
                continue
        print(f"{name}: " + ", ".join(f"{key} {value:,.2f}" for key, value in results[name].items()))
    if len(results) == 2:
        for key in ("rate", "p99"):
            results[f"ratio_{key}"] = results["pool"][key] / results["serve"][key]
            print(f"ratio_{key}: {results[f'ratio_{key}']:.2f}")
    if args.json:
        args.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
