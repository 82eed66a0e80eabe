"""A fake reward actor behind the real HTTP API: "ann" is known, the reward is a tenth of the response's letters."""

import asyncio
import atexit
import math
import os
import subprocess
import sys
from contextlib import contextmanager

import httpx

from persona_rm.errors import ScoreError
from persona_rm.hosts.openrlhf.routes import GET_REWARD
from persona_rm.io.log_ids import LogIds
from persona_rm.serving.http.application import make_app
from persona_rm.serving.http.service import ActorService
from persona_rm.serving.http.settings import Settings
from persona_rm.types import RewardResult, RewardStep, RewardTrace

SECRET = "my neighbour Theodora owes me 300"
"""What no answer, log or metric may hold."""
HOST = {"query": ["Hello? Yes.</s>"], "prompts": ["Hello?"], "labels": [{"user": "ann"}]}


RUNNER = asyncio.Runner()
"""Calls of a test share a loop: a batcher belongs to one."""
atexit.register(RUNNER.close)


class FakeActor:
    """Does what the response says: "nan", "boom", "long", "wait", "nap"; else it scores."""

    def __init__(self):
        self.requests, self.cancelled, self.go, self.closed = [], 0, asyncio.Event(), False
        self.log_ids = LogIds(b"a key")
        self.figures = {"name": "simulator", "pid": 1, "mean_batch": 2.0}

    async def warm(self):
        return 0.0

    async def info(self):
        return self.figures

    async def close(self):
        self.closed = True

    async def score(self, request, *, caller="", deadline=None):
        self.requests.append(request)
        said = request.response.strip()
        if said == "boom":
            raise RuntimeError(f"the model choked on {SECRET}")
        if said == "long":
            raise ScoreError(f"9 tokens are too many: {SECRET}", (0,), "too_long")
        if said == "wait":
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
        if said == "nap":
            await asyncio.sleep(1)
        known = request.user == "ann"
        reward = math.nan if said == "nan" else len(request.response) / 10
        trace = RewardTrace(
            2 * reward, {"tea": 2 * reward, "coffee": 0.0}, (RewardStep("half", 2 * reward, reward),),
            "ok" if known else "cold", request.request_id, request.user, known, "all", 3 * known, ("item",) * known,
            inputs={"n_items": int(known)}, metrics={"persona_rm/cold": float(not known)},
        )  # fmt: skip
        return RewardResult(reward, trace)


class Api:
    """The application over a fake actor, without a network."""

    def __init__(self, opened=True, limit=4096, stuck_timeout=60.0, **settings):
        self.actor = FakeActor()
        self.service = ActorService(lambda: self.actor, limit, stuck_timeout)
        self.service._actor, self.service.opened = self.actor, opened
        self.settings = Settings(**settings)
        self.app = make_app(self.service, self.settings, [GET_REWARD])

    def client(self, **headers):
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        return httpx.AsyncClient(transport=transport, base_url="http://localhost", headers=headers)

    def call(self, method, path, headers=(), **options):
        """One call, from outside a loop."""

        async def one():
            async with self.client(**dict(headers)) as client:
                return await client.request(method, path, **options)

        return RUNNER.run(one())

    def post(self, path, body, **headers):
        return self.call("POST", path, headers, json=body)


@contextmanager
def served(*command, **environ):
    """A server process of its own: the fake actor's, or this command. Gives the address and the process."""
    line = [sys.executable, *(command or (__file__,))]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, env={**os.environ, **environ})
    try:
        while "http://" not in (said := process.stdout.readline()):
            assert said or process.poll() is None, f"it ended with {process.returncode}"
        yield "http://" + said.partition("http://")[2].split()[0], process
    finally:
        process.terminate()
        process.wait(60)
        process.stdout.close()


if __name__ == "__main__":
    from persona_rm.serving.http.server import run_server

    run_server(
        ActorService(FakeActor),
        Settings(port=0),
        lambda url: (sys.stdout.write(f"{url}\n"), sys.stdout.flush()),
        [GET_REWARD],
    )
