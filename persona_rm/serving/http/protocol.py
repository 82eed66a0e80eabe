"""What a caller can cost before its request is complete: time, bytes of headers, and a place among the connections.

uvicorn limits idle connections between two requests (`timeout_keep_alive`), and h11 the size of headers, but not the
time that a silent connection or unfinished headers may take, nor the headers in httptools. Its `limit_concurrency`
answers 503 to every caller while too many connections are open, so silent connections would shut out all others. Here
the connection that has waited longest for its caller is closed instead.
"""

import asyncio
import resource
from contextlib import suppress
from pathlib import Path
from typing import Any

from uvicorn.protocols.http.auto import AutoHTTPProtocol

HEADER_SECONDS = 10.0
"""Until the headers of a request are complete, from the beginning of the connection or of the request."""
HEADER_BYTES = 1 << 16
"""Bytes of the headers of one request, with its URL."""
SEND_SECONDS = 30.0
"""Until a caller has read enough of an answer for the rest to be sent."""
SLICE = 1 << 14
"""Bytes of headers that are parsed at once, so that more than `HEADER_BYTES` are noticed."""
SPARE_FILES = 128
"""Files that stay free for bundles, stores and Ray, and for connections that are accepted before others are closed."""


def connection_limit(wanted: int) -> int:
    """How many connections this process can keep open, at most `wanted`. It raises the soft limit of open files if the
    system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened = 64
    with suppress(OSError):
        opened = sum(1 for _ in Path("/proc/self/fd").iterdir())
    needed = wanted + opened + SPARE_FILES
    if soft != resource.RLIM_INFINITY and soft < needed:
        with suppress(OSError, ValueError):
            soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        wanted = min(wanted, soft - opened - SPARE_FILES)
    return max(wanted, 8)


class LimitedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]
    """uvicorn's protocol with limits. `most`: the number of open connections."""

    def __init__(self, *args: Any, most: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.most = most
        self.waiting_since = 0.0
        self._header_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self._send_timer: asyncio.TimerHandle | None = None

    @property
    def is_waiting(self) -> bool:
        """True if the next step is the caller's: silent, or its request or the rest of its body is not here yet."""
        return not self.transport.is_closing() and (
            self.cycle is None or self.cycle.response_complete or self.cycle.more_body
        )

    def connection_made(self, transport: Any) -> None:
        """Make room if too many connections are open."""
        super().connection_made(transport)
        self.waiting_since = self.loop.time()
        self._start_timer()
        if len(self.connections) > self.most:
            self._make_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        for timer in (self._timer, self._send_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Headers in slices, so that their size is known; bodies as they come."""
        at = 0
        while at < len(data) and self._in_headers and not self.transport.is_closing():
            before, part = self.cycle, data[at : at + SLICE]
            at += len(part)
            self._header_bytes += len(part)
            if self._timer is None:
                self._start_timer()
            super().data_received(part)
            if self.cycle is not before:
                self._stop_timer()
                self._header_bytes = 0
            elif self._header_bytes > HEADER_BYTES:
                self._refuse(431, "Request Header Fields Too Large", f"headers have at most {HEADER_BYTES} bytes")
        if at < len(data) and not self.transport.is_closing():
            super().data_received(data[at:] if at else data)

    def on_response_complete(self) -> None:
        """The caller may send the rest of its body, which is not read any more, for a limited time."""
        self.waiting_since = self.loop.time()
        unread = self.cycle.more_body
        super().on_response_complete()
        if unread and self._timer is None:
            self._start_timer()

    def pause_writing(self) -> None:
        """The caller does not read: a limited time begins."""
        super().pause_writing()
        self._send_timer = self.loop.call_later(SEND_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """The caller reads again."""
        super().resume_writing()
        if self._send_timer is not None:
            self._send_timer.cancel()
            self._send_timer = None

    @property
    def _in_headers(self) -> bool:
        return self.cycle is None or (self.cycle.response_complete and not self.cycle.more_body)

    def _start_timer(self) -> None:
        self._timer = self.loop.call_later(HEADER_SECONDS, self._expire)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        self._timer = None
        if self._header_bytes:
            self._refuse(408, "Request Timeout", f"headers are complete within {HEADER_SECONDS:.0f} s")
        else:
            self.transport.abort()

    def _make_room(self) -> None:
        """Close the connection that waits for its caller and has waited longest; without one, refuse this one."""
        opened = [other for other in self.connections if not other.transport.is_closing()]
        if len(opened) <= self.most:
            return
        waiting = [other for other in opened if other is not self and other.is_waiting]
        if waiting:
            # Those that never sent a request first: a caller between two requests has shown that it is one.
            min(waiting, key=lambda other: (other.cycle is not None, other.waiting_since)).transport.abort()
        else:
            self._refuse(503, "Service Unavailable", f"{self.most} connections are busy; try again")

    def _refuse(self, status: int, phrase: str, problem: str) -> None:
        """Answer without the application, which has no request yet, and close."""
        head = f"HTTP/1.1 {status} {phrase}\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n"
        self.transport.write(f"{head}content-length: {len(problem)}\r\n\r\n{problem}".encode())
        self.transport.close()
