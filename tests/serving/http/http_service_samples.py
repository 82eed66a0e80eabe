"""A toy reward actor behind the real HTTP face: "ann" is known, the reward is a tenth of the response's letters."""

import asyncio
import atexit
import math
import os
import subprocess
import sys
from contextlib import contextmanager

import httpx

from persona_rm.errors import ScoreError
from persona_rm.serving.curves import Reply
from persona_rm.serving.http.routes import make_app
from persona_rm.serving.http.service import ActorService
from persona_rm.serving.http.settings import Settings

SECRET = "my neighbour Theodora owes me 300"
"""What no answer, log or metric may hold."""
HOST = {"query": ["Hello? Yes.</s>"], "prompts": ["Hello?"], "labels": [{"user": "ann"}]}


RUNNER = asyncio.Runner()
"""Calls of a test share a loop: a batcher belongs to one."""
atexit.register(RUNNER.close)


class ToyActor:
    """Does what the response says: "nan", "boom", "long", "wait", "nap"; else it scores."""

    def __init__(self):
        self.asks, self.cancelled, self.go, self.closed = [], 0, asyncio.Event(), False
        self.figures = {"name": "simulator", "pid": 1, "mean_batch": 2.0}

    async def warm(self):
        return 0.0

    async def info(self):
        return self.figures

    async def close(self):
        self.closed = True

    async def score(self, ask, *, caller="", deadline=None):
        self.asks.append(ask)
        said = ask.response.strip()
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
        known = ask.user == "ann"
        reward = math.nan if said == "nan" else len(ask.response) / 10
        status = "ok" if known else "cold"
        return Reply(reward, {"tea": 0.5}, status, known, "all", {"persona_rm/cold": float(not known)})


class Face:
    """The application over a toy actor, without a network."""

    def __init__(self, opened=True, limit=4096, patience=60.0, **settings):
        self.actor = ToyActor()
        self.service = ActorService(lambda: self.actor, limit, patience)
        self.service._actor, self.service.opened = self.actor, opened
        self.settings = Settings(**settings)
        self.app = make_app(self.service, self.settings)

    def client(self, **headers):
        transport = httpx.ASGITransport(self.app, raise_app_exceptions=True)
        return httpx.AsyncClient(transport=transport, base_url="http://toy", headers=headers)

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
    """A server process of its own: the toy, or this command. Gives the address and the process."""
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
        ActorService(ToyActor), Settings(port=0), lambda url: (sys.stdout.write(f"{url}\n"), sys.stdout.flush())
    )
