"""Steady load on a real `persona-rm serve`, and what its memory does.

    python tests/perf/soak.py --minutes 60 [--method pba_linear] [--json FILE]

The method is `contrast` with log-probabilities of the packaged model and a prefix cache that is too small for all
users, or `pba_linear` with the simulator's annotator, which costs almost nothing: some hundred calls a second, so that
a leak in the service shows within a minute. Rewards are standardised per user, and the echo monitor is on. Callers
send OpenRLHF's payload one row at a time, each prompt and response new, for known users and unknown users; now and
then a group of 8 over /score, a malformed body, and a client that hangs up in the middle.

`lost`           calls without a finite reward for every row. Goal 0.
`server_errors`  answers of 500 and above. Goal 0.
`accepted`       malformed bodies that got a reward. Goal 0.
`kib_per_call`   growth of the server's resident memory: the median of the last quarter of the run less that of the
                 second (the first warms up), in KiB per call between them. Goal: below 1.
`mib_per_hour`   the same over time.
"""

import argparse
import asyncio
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from itertools import count
from pathlib import Path
from random import Random
from statistics import median
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from rich.console import Console

from persona_rm.bundle import User, write_bundle
from persona_rm.io.progress_bar import progress_bar
from persona_rm.space import load_space
from persona_rm.types import Persona

USERS, CALLERS, EVERY = 200, 8, 1.0
CACHE = 4 * 2**20
WORDS = "tea rain people city quiet money friends music work evening honest laugh garden winter letter"
MALFORMED = (b"", b"{", b"[]", b'{"query": 1}', b'{"query": ["a"], "prompts": [], "labels": []}', b"\xff\xfe")
Sample = tuple[float, int, int]
"""Seconds since the start, calls answered so far, bytes of resident memory."""


def make(folder: Path, method: str) -> Path:
    """A bundle of users with a few directions each."""
    size = len(load_space("alignx90"))
    users = [
        User(Persona(f"u{i}", directions=tuple(Random(i).choices([-1, 0, 1], weights=[1, 20, 1], k=size))))
        for i in range(USERS)
    ]
    keys: dict[str, Any] = {"annotator": {"name": "simulator"}}
    if method == "contrast":
        policy = str(files("persona_rm") / "assets" / "simulator_lm")
        keys = {"policy": policy, "engine_options": {"cache_bytes": CACHE}}
    postprocess = {"standardise": "user", "monitor": True}
    return write_bundle(folder, users, method={"name": method}, postprocess=postprocess, **keys)


@contextmanager
def server(folder: Path, method: str) -> Iterator[tuple[str, int]]:
    """Address and process number of `persona-rm serve`."""
    options = ["--bundle", str(make(folder / "bundle", method)), "--port", "0", "--log", str(folder / "log")]
    command = [sys.executable, "-m", "persona_rm.cli", "serve", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        while "http://" not in (said := process.stdout.readline()):
            if not said and process.poll() is not None:
                raise SystemExit(f"the server ended with {process.returncode}")
        yield "http://" + said.partition("http://")[2].split()[0], process.pid
    finally:
        process.terminate()
        process.wait(60)


def resident(pid: int) -> int:
    """Bytes of memory that a process holds."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


class Load:
    """What the callers send, and what became of it."""

    def __init__(self, url: str, until: float) -> None:
        self.url, self.until, self.numbers = url, until, count()
        self.counts: Counter[str] = Counter()

    async def caller(self, seed: int) -> None:
        """One call after the other, until the time is over."""
        draw = Random(seed)
        async with aiohttp.ClientSession() as session:
            while time.monotonic() < self.until:
                kind = draw.choices(["row", "group", "malformed", "hang_up"], weights=[90, 2, 5, 3])[0]
                await getattr(self, kind)(session, draw)
                self.counts[kind] += 1
                self.counts["calls"] += 1

    def text(self, draw: Random, words: int) -> str:
        """Words that were never sent before."""
        return " ".join([*draw.choices(WORDS.split(), k=draw.randint(words // 2, words)), str(next(self.numbers))])

    async def row(self, session: aiohttp.ClientSession, draw: Random) -> None:
        """One sample, as OpenRLHF asks."""
        prompt = f"{self.text(draw, 80)}? "
        known = draw.random() < 0.8
        user = f"u{draw.randrange(USERS)}" if known else f"unknown {next(self.numbers)}"
        body = {"query": [prompt + self.text(draw, 30)], "prompts": [prompt], "labels": [{"user": user}]}
        await self._rewarded(session, "/get_reward", body, lambda found: found["rewards"], 1)

    async def group(self, session: aiohttp.ClientSession, draw: Random) -> None:
        """The responses to one prompt."""
        responses = [self.text(draw, 30) for _ in range(8)]
        body = {"user": f"u{draw.randrange(USERS)}", "prompt": self.text(draw, 80), "responses": responses}
        await self._rewarded(session, "/score", body, lambda found: [row["reward"] for row in found["results"]], 8)

    async def malformed(self, session: aiohttp.ClientSession, draw: Random) -> None:
        """Refused, and nothing worse."""
        headers, path = {"content-type": "application/json"}, draw.choice(["/get_reward", "/score"])
        async with session.post(self.url + path, data=draw.choice(MALFORMED), headers=headers) as answer:
            self.counts["server_errors"] += answer.status >= 500
            self.counts["accepted"] += answer.status == 200
            await answer.read()

    async def hang_up(self, _session: aiohttp.ClientSession, draw: Random) -> None:
        """Gone before the body's end, or before the answer."""
        body = json.dumps({"user": "u0", "prompt": self.text(draw, 80), "responses": [self.text(draw, 30)]}).encode()
        where = urlsplit(self.url)
        _, writer = await asyncio.open_connection(where.hostname, where.port)
        head = (
            f"POST /score HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        writer.write(head.encode() + body[: draw.choice([len(body), len(body) // 2])])
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def _rewarded(self, session, path, body, rewards, n) -> None:  # type: ignore[no-untyped-def]
        async with session.post(self.url + path, json=body) as answer:
            self.counts["server_errors"] += answer.status >= 500
            found = rewards(await answer.json()) if answer.status == 200 else []
        self.counts["lost"] += len(found) != n or not all(map(math.isfinite, found))


async def soak(url: str, pid: int, seconds: float) -> tuple[Counter[str], list[Sample]]:
    """The counts, and the memory every second."""
    began = time.monotonic()
    load, samples = Load(url, began + seconds), list[Sample]()
    with progress_bar(Console(stderr=True), "soak", round(seconds)) as update:
        callers = asyncio.gather(*[load.caller(i) for i in range(CALLERS)])
        while not callers.done():
            await asyncio.wait([callers], timeout=EVERY)
            samples.append((time.monotonic() - began, load.counts["calls"], resident(pid)))
            update(round(samples[-1][0]), f"{samples[-1][1]} calls, {samples[-1][2] / 2**20:.0f} MiB")
        await callers
    return load.counts, samples


def growth(samples: list[Sample]) -> dict[str, float]:
    """From the second quarter to the last."""
    size = len(samples) // 4
    early, late = samples[size : 2 * size], samples[-size:]
    first, last = ([median(column) for column in zip(*part, strict=True)] for part in (early, late))
    grown = last[2] - first[2]
    return {
        "kib_per_call": grown / 2**10 / (last[1] - first[1]),
        "mib_per_hour": grown / 2**20 / (last[0] - first[0]) * 3600,
        "mib_first": samples[0][2] / 2**20,
        "mib_last": last[2] / 2**20,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures and the samples (seconds, calls, bytes) here")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--method", choices=["contrast", "pba_linear"], default="contrast")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, server(Path(folder), told.method) as (url, pid):
        counts, samples = asyncio.run(soak(url, pid, 60 * told.minutes))
    keys = ("calls", "row", "group", "malformed", "hang_up", "lost", "server_errors", "accepted")
    figures = {key: float(counts[key]) for key in keys} | growth(samples) | {"load": os.getloadavg()[0]}
    for key, value in figures.items():
        print(f"{key:20}{value:>12.3f}")
    if told.json:
        told.json.write_text(json.dumps(figures | {"samples": samples}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
