"""The three stores, each with one interface that fills it and opens it again; Redis is a real server."""

import itertools
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from persona_rm.profiles import ProfileStore
from persona_rm.profiles.arrow import ArrowSnapshot, write_snapshot
from persona_rm.profiles.redis import RedisStore
from persona_rm.profiles.sqlite import SqliteStore
from persona_rm.types import UserState

START_S = 10.0


class Case:
    """`open()` gives a new opening of the same place; `fill` brings states there, as each kind of store wants it."""

    def __init__(self, kind: str, make: Callable[[], ProfileStore]) -> None:
        self.kind, self.make, self.opened = kind, make, list[ProfileStore]()

    def open(self) -> ProfileStore:
        self.opened.append(self.make().open())
        return self.opened[-1]

    def fill(self, states: Sequence[UserState]) -> ProfileStore:
        if self.kind == "arrow":
            write_snapshot(self.make().where, states)
            return self.open()
        store = self.open()
        store.put(states)
        return store

    def close(self) -> None:
        for store in self.opened:
            store.close()


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture(scope="session")
def start_redis(tmp_path_factory) -> Iterator[Callable[..., tuple[int, subprocess.Popen[bytes]]]]:
    """`start_redis(*options)`: the port and process of a server that keeps nothing."""
    if (binary := shutil.which("redis-server")) is None:
        pytest.skip("no redis-server on PATH (Debian, Ubuntu: apt install redis-server)")
    running: list[subprocess.Popen[bytes]] = []

    def start(*options: str) -> tuple[int, subprocess.Popen[bytes]]:
        folder, port = tmp_path_factory.mktemp("redis"), free_port()
        own = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "no"]
        process = subprocess.Popen([binary, *own, *options], stdout=subprocess.DEVNULL)
        running.append(process)
        end = time.monotonic() + START_S
        while not answers(port):
            assert process.poll() is None, "redis-server stopped at once"
            assert time.monotonic() < end, f"redis-server does not answer after {START_S} s"
            time.sleep(0.01)
        return port, process

    yield start
    for process in running:
        process.terminate()
        process.wait(10)


def answers(port: int) -> bool:
    with closing(socket.socket()) as found:
        return found.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def redis_port(start_redis) -> int:
    return start_redis()[0]


NUMBERS = itertools.count()


@pytest.fixture
def redis_case(redis_port) -> Iterator[Case]:
    namespace = f"test-{next(NUMBERS)}"
    case = Case("redis", lambda: RedisStore(f"redis://127.0.0.1:{redis_port}/0", namespace))
    yield case
    case.close()


@pytest.fixture(params=["arrow", "sqlite", "redis"])
def case(request, tmp_path) -> Iterator[Case]:
    yield from _cases(request, tmp_path)


@pytest.fixture(params=["sqlite", "redis"])
def writable(request, tmp_path) -> Iterator[Case]:
    """The stores that `put` takes states into."""
    yield from _cases(request, tmp_path)


def _cases(request: pytest.FixtureRequest, folder: Path) -> Iterator[Case]:
    if request.param == "redis":
        yield request.getfixturevalue("redis_case")
        return
    makes = {"arrow": lambda: ArrowSnapshot(folder / "p.arrow"), "sqlite": lambda: SqliteStore(folder / "p.sqlite")}
    case = Case(request.param, makes[request.param])
    yield case
    case.close()
