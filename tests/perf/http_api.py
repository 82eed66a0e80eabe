"""The HTTP API against Ray Serve: the same trivial answer behind both, 64 callers, OpenRLHF's payload.

python tests/perf/http_api.py                # ratio: N (calls per second, uvicorn / Ray Serve), both kinds of session
python tests/perf/http_api.py --json FILE    # {uvicorn,serve,ratio}_{keep,new}

(A script named http.py would hide Python's own module of that name from every script of this folder.)

Callers run in a process of their own. OpenRLHF opens a new session for each call; `keep` shares one among all. Behind
uvicorn runs the whole HTTP API (guard, schema, metrics) with an actor that answers at once. Behind Ray Serve runs a
deployment that reads the JSON and answers at once, so it has less to do. Ray Serve 2.55 needs protobuf below 7. With a
newer protobuf it deploys nothing, and the script says so.
"""

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

PAYLOAD = {"query": ["Hello? " + "Yes. " * 200], "prompts": ["Hello?"], "labels": [{"user": "u0"}]}
CALLERS = 64
API = """
import sys
from persona_rm.hosts.openrlhf.routes import GET_REWARD
from persona_rm.serving.http.server import run_server
from persona_rm.serving.http.service import ActorService
from persona_rm.serving.http.settings import Settings
from persona_rm.types import RewardResult, RewardTrace

TRACE = RewardTrace(0.5, user_known=True, group="all", metrics={"cold": 0.0})

class Trivial:
    async def warm(self): return 0.0
    async def info(self): return {}
    async def close(self): pass
    async def score(self, request, caller, deadline): return RewardResult(0.5, TRACE)

run_server(ActorService(Trivial), Settings(port=int(sys.argv[1])), print, [GET_REWARD])
"""


@contextmanager
def http_api() -> Iterator[str]:
    """The address of the HTTP API, which runs in a process of its own."""
    port = free_port()
    process = subprocess.Popen([sys.executable, "-c", API, str(port)], stdout=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}/get_reward"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def ray_serve() -> Iterator[str]:
    """The address of a deployment with one replica, on a cluster of its own."""
    from ray import serve
    from starlette.requests import Request

    from persona_rm.construct.job import local_ray

    @serve.deployment(max_ongoing_requests=512, ray_actor_options={"num_cpus": 0.5})
    class Trivial:
        async def __call__(self, request: Request) -> dict[str, object]:
            n = len((await request.json())["query"])
            return {"rewards": [0.5] * n, "scores": [0.6] * n, "extra_logs": {"cold": [0.0] * n}}

    port = free_port()
    with local_ray(num_cpus=2, num_gpus=0, logging_level="error"):
        try:
            serve.start(http_options={"host": "127.0.0.1", "port": port}, logging_config={"log_level": "ERROR"})
            serve.run(Trivial.bind(), route_prefix="/get_reward", logging_config={"enable_access_log": False})
            yield f"http://127.0.0.1:{port}/get_reward"
        finally:
            serve.shutdown()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def measured(url: str, seconds: float) -> dict[str, float]:
    """Calls per second with kept and with new sessions, from a process that does nothing else."""
    command = [sys.executable, os.path.realpath(__file__), "--callers", url, "--seconds", str(seconds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {key: float(value) for key, value in json.loads(done.stdout.splitlines()[-1]).items()}


async def rates(url: str, seconds: float) -> dict[str, float]:
    await until_up(url)
    connector = aiohttp.TCPConnector(limit=CALLERS)
    async with aiohttp.ClientSession(connector=connector) as session:
        await rate(url, session, min(seconds, 2))
        kept = await rate(url, session, seconds)
    return {"keep": kept, "new": await rate(url, None, seconds)}


async def rate(url: str, session: aiohttp.ClientSession | None, seconds: float) -> float:
    """Answers per second; every one of them is read and checked."""
    end, start = time.perf_counter() + seconds, time.perf_counter()

    async def caller() -> int:
        n = 0
        while time.perf_counter() < end:
            if session is not None:
                await call(session, url)
            else:
                async with aiohttp.ClientSession() as fresh:
                    await call(fresh, url)
            n += 1
        return n

    done = sum(await asyncio.gather(*[caller() for _ in range(CALLERS)]))
    return done / (time.perf_counter() - start)


async def call(session: aiohttp.ClientSession, url: str) -> None:
    async with session.post(url, json=PAYLOAD) as response:
        response.raise_for_status()
        assert (await response.json())["rewards"] == [0.5]


async def until_up(url: str) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            async with aiohttp.ClientSession() as session:
                return await call(session, url)
        except aiohttp.ClientError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.2)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--seconds", type=float, default=6, help="of each measurement")
    parser.add_argument("--callers", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.callers:
        print(json.dumps(asyncio.run(rates(args.callers, args.seconds))))
        return
    found: dict[str, float] = {}
    with http_api() as url:
        found |= {f"uvicorn_{key}": value for key, value in measured(url, args.seconds).items()}
    try:
        with ray_serve() as url:
            found |= {f"serve_{key}": value for key, value in measured(url, args.seconds).items()}
    except Exception as error:  # noqa: BLE001 - that it does not start here is a finding too
        print(f"Ray Serve answers no call here: {(str(error).splitlines() or [type(error).__name__])[-1]}")
    for key, words in (("keep", "kept sessions"), ("new", "a new session for each call")):
        ours, theirs = found[f"uvicorn_{key}"], found.get(f"serve_{key}")
        if theirs is None:
            print(f"uvicorn {ours:,.0f}/s ({CALLERS} callers, {words})")
            continue
        found[f"ratio_{key}"] = ours / theirs
        said = f"{words}: uvicorn {ours:,.0f}/s, Ray Serve {theirs:,.0f}/s"
        print(f"ratio: {ours / theirs:.1f} ({CALLERS} callers, {said})")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
