"""Checks host, token, content type and size before a call reaches a route, and measures how long the call took.

The body is read here, within its limits of size and time, so that no route ever holds more. An exception that a route
does not handle becomes an error response here, without the message of the exception, which may hold a user's text.
"""

import asyncio
import base64
import binascii
import hmac
import json
import logging
import time

from starlette.datastructures import Headers
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from persona_rm.serving.failure_line import place_of
from persona_rm.serving.http.http_errors import RequestError, request_error_of
from persona_rm.serving.http.json_size import check_values
from persona_rm.serving.http.metrics import HttpMetrics
from persona_rm.serving.http.settings import Settings

logger = logging.getLogger(__name__)
OPEN = ("/health", "/ready")
"""Probes need no token."""


class Guard:
    """ASGI middleware. `routes` are those that metrics name; others are "other"."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: HttpMetrics, routes: frozenset[str]) -> None:
        self.app, self.settings, self.metrics, self.routes = app, settings, metrics, routes
        self.hosts = settings.trusted_hosts
        self.held = 0
        """Bytes of the bodies of all calls in progress."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One call, timed and answered."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started, status = time.perf_counter(), 0

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._within(scope, receive, sent)
        except Exception as error:  # noqa: BLE001 - the caller always gets an answer
            refused = request_error_of(error)
            if not isinstance(error, RequestError):
                logger.error("persona_rm: %s in %s", type(error).__name__, place_of(error))
            self.metrics.failures.labels(refused.kind).inc()
            # An answer that has begun cannot be replaced by an error.
            if not status:
                await _answer(refused, sent)
        # Unknown paths share one label, or a caller could create any number of time series.
        route = scope["path"] if scope["path"] in self.routes else "other"
        self.metrics.done(route, status, time.perf_counter() - started)

    async def _within(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if not await self._trusted(scope, receive):
            raise RequestError(
                "host", "the Host header names another service: call this one by its address, or allow the name by "
                "--allowed-host NAME",
            )  # fmt: skip
        if scope["path"] not in OPEN and not self._authorised(headers.get("authorization", "")):
            raise RequestError("unauthorized", "this service asks for its token: Authorization: Bearer TOKEN")
        if scope["method"] != "POST":
            await self.app(scope, receive, send)
            return
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RequestError("media_type", "a body is JSON: Content-Type: application/json")
        body = bytearray()
        try:
            async with asyncio.timeout(self.settings.body_seconds):
                await self._read(headers, receive, body)
        except TimeoutError:
            # `held` is shared by all calls, so what this call added is subtracted on every way out.
            self.held -= len(body)
            raise RequestError("slow", f"the body took longer than {self.settings.body_seconds:.0f} s") from None
        except BaseException:
            self.held -= len(body)
            raise
        try:
            check_values(body, self.settings.values)
            await self.app(scope, _replay(bytes(body), receive), send)
        finally:
            self.held -= len(body)

    async def _trusted(self, scope: Scope, receive: Receive) -> bool:
        """What Starlette's middleware says about the host; its answer, a plain text, is replaced by ours."""
        passed = False

        async def inner(_scope: Scope, _receive: Receive, _send: Send) -> None:
            nonlocal passed
            passed = True

        async def unsent(_message: Message) -> None: ...

        hosts = TrustedHostMiddleware(inner, self.hosts, www_redirect=False)
        await hosts(scope, receive, unsent)
        return passed

    def _authorised(self, given: str) -> bool:
        """True if the token is right, compared in constant time. Every caller is authorised if no token is set."""
        if self.settings.token is None:
            return True
        # As bytes, because `compare_digest` refuses texts that are not ASCII, which a caller may send.
        return hmac.compare_digest(_token(given).encode(), self.settings.token.encode())

    async def _read(self, headers: Headers, receive: Receive, body: bytearray) -> None:
        """The body, within its limits. Raises `RequestError`."""
        limit = self.settings.body_limit
        declared = headers.get("content-length", "")
        more = True
        # Twenty digits exceed every limit, and `int` refuses texts of thousands of digits.
        if declared.isdecimal() and int(declared[:20]) > limit:
            raise _too_large(limit)
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestError("gone", "the caller disconnected")
            chunk, more = message.get("body", b""), message.get("more_body", False)
            # The declared length may be missing or wrong, so the bytes are counted as they arrive.
            if len(body) + len(chunk) > limit:
                raise _too_large(limit)
            if self.held + len(chunk) > self.settings.memory:
                raise RequestError("busy", "too many calls are in progress; try again")
            body += chunk
            self.held += len(chunk)


def _too_large(limit: int) -> RequestError:
    return RequestError(
        "too_large", f"a body has at most {limit} bytes: send fewer rows at once, or raise --body-limit"
    )


def _token(header: str) -> str:
    """`Bearer TOKEN`, or the password of `Basic`, which a client can send that knows only a URL."""
    scheme, _, value = header.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip()
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value, validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once, then the messages after it: the disconnect of the caller."""
    first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def again() -> Message:
        return first.pop() if first else await receive()

    return again


async def _answer(refused: RequestError, send: Send) -> None:
    body = json.dumps(refused.body).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **refused.headers}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": raw})
    await send({"type": "http.response.body", "body": body})
