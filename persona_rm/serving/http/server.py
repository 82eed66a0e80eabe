"""uvicorn around the application: it listens, opens the service, and ends on SIGTERM once calls are answered."""

import asyncio
import json
import shlex
import signal
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from pydantic import JsonValue

from persona_rm.errors import RecipeError
from persona_rm.serving.http.application import HostRoute, make_app
from persona_rm.serving.http.protocol import HEADER_BYTES, LimitedProtocol, connection_limit
from persona_rm.serving.http.service import Service
from persona_rm.serving.http.settings import TOKEN, Settings
from persona_rm.serving.repeated_lines import repeat_limit

GRACE = 20
"""Seconds that calls in progress have after SIGTERM."""
KEEP_ALIVE = 75
"""Seconds that a connection stays open between two requests."""
BACKLOG = 2048
"""Connections that the system holds until they are accepted."""
ACCEPTED = 32
"""Connections that are accepted at once. They all are open before the first of them makes room for itself."""
OURS = ("actor.reward_actor", "client", "failures", "http.guard", "http.service", "labels")
NOISY = ("asyncio", "uvicorn.error", *(f"persona_rm.serving.{module}" for module in OURS))
"""Loggers whose lines callers cause: connections that cannot be accepted, broken requests, rows without a reward."""


class Server(uvicorn.Server):
    """Ends on a signal, and does not raise it again: the caller still has to end the pool in order."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """While this block runs, in the main thread."""
        before = {}
        with suppress(ValueError):  # not the main thread: the caller stops it by `should_exit`
            before = {number: signal.signal(number, self._stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen. asyncio has one number for the connections that wait and for those that are accepted at once, so the
        first is set again."""
        await super().startup(sockets)
        for listening in sockets or ():
            listening.listen(BACKLOG)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.handle_exit(number, frame)


def run_server(
    service: Service, settings: Settings, on_ready: Callable[[str], None], routes: Sequence[HostRoute] = ()
) -> None:
    """Serve until a signal; `on_ready` is called with the address when rewards are available.

    The probes answer while the service loads. Raises `RecipeError` if the port is taken, and what opening the
    service raises: a set-up that cannot score ends at once.
    """
    listening = listen(settings)
    protocol: Any = partial(LimitedProtocol, most=connection_limit(settings.connections))
    config = uvicorn.Config(
        # The service is not opened in a lifespan, because uvicorn answers no probe until its start-up has ended.
        make_app(service, settings, routes), lifespan="off", log_level="warning", access_log=False,
        server_header=False, http=protocol, ws="none", backlog=ACCEPTED, h11_max_incomplete_event_size=HEADER_BYTES,
        timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=GRACE,
    )  # fmt: skip
    with listening, repeat_limit(*NOISY):
        asyncio.run(_serve(Server(config), service, listening, lambda: on_ready(url_of(listening))))


async def _serve(server: Server, service: Service, listening: socket.socket, on_ready: Callable[[], None]) -> None:
    async def opened() -> None:
        try:
            await service.open()
            on_ready()
        except BaseException:
            # Without this, the server would go on answering probes for a service that can never score.
            server.should_exit = True
            raise

    opening = asyncio.create_task(opened())
    try:
        await server.serve(sockets=[listening])
    finally:
        # Read before `cancel`, so that only the error of a finished opening is raised below.
        done = opening.done()
        opening.cancel()
        await service.close()
    if done:
        opening.result()


def listen(settings: Settings) -> socket.socket:
    """The listening socket. Raises `RecipeError` if the address cannot be bound."""
    try:
        family = socket.getaddrinfo(settings.host, settings.port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.create_server((settings.host, settings.port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise RecipeError(
            f"cannot listen on {settings.host} port {settings.port} ({error.strerror}): take another --port, or 0 for "
            "any that is free"
        ) from error
    # Connections inherit it. Without, the end of an answer waits 40 ms for the caller's acknowledgement of its start:
    # asyncio sets it only on sockets that were made with the protocol's number.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def url_of(listening: socket.socket) -> str:
    """The URL of the address that the socket listens on."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def curl_example(url: str, user: str, *, token: bool, route: HostRoute | None = None) -> str:
    """An example call of this route, or of `/score`."""
    own: Mapping[str, JsonValue] = {"user": user, "prompt": "Hello?", "responses": ["Yes."]}
    path, body = (route.path, json.dumps(route.example(user))) if route else ("/score", json.dumps(own))
    auth = f'-H "Authorization: Bearer ${TOKEN}" ' if token else ""
    return f"curl -s {url}{path} {auth}-H 'Content-Type: application/json' -d {shlex.quote(body)}"
