"""The source of rewards for the HTTP API: one reward actor in this process, or the pool of the cluster."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from persona_rm.errors import ScoreError
from persona_rm.io.log_ids import LogIds
from persona_rm.serving.actor.reward_actor import RewardActor
from persona_rm.serving.client import RewardClient
from persona_rm.serving.failure_line import failure_line
from persona_rm.serving.http.http_errors import RequestError, request_error_of
from persona_rm.serving.pool.pool import Pool
from persona_rm.types import RewardRequest, RewardResult

logger = logging.getLogger(__name__)
THREADS = 128
"""Maximum number of concurrent calls to the pool."""
DOWN_SECONDS = 10.0
GRACE = 1.0
"""Seconds after the deadline in which a row may still report its own reason for being late."""


class Service(Protocol):
    """Gives rewards. `score` raises `RequestError`, and nothing else on purpose."""

    @property
    def waiting(self) -> int: ...

    async def open(self) -> None: ...

    async def score(self, request: RewardRequest, *, caller: str, deadline: float | None) -> RewardResult: ...

    async def info(self) -> dict[str, Any]: ...

    def ready(self) -> bool: ...

    def reason(self) -> str: ...

    async def close(self) -> None: ...


class RequestFlow:
    """The rows that wait: at most `limit`. The flow is stuck if rows wait and none was answered for `timeout` seconds.

    A row that was cancelled, was late or reached no actor is no answer. If no row waits any more the flow is not
    stuck: the next row is tried.
    """

    def __init__(self, limit: int, timeout: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit, self.timeout, self.clock = limit, timeout, clock
        self.waiting, self._since = 0, clock()
        self._down_at: float | None = None

    @property
    def stuck(self) -> bool:
        """True while rows wait and none is answered."""
        return self.waiting > 0 and self.clock() - self._since > self.timeout

    @property
    def down(self) -> bool:
        """True for `DOWN_SECONDS` after a row failed because the store or the actors did not answer, until a row is
        scored. It ends by itself: a service that is not ready gets no rows that could show that it is again."""
        return self._down_at is not None and self.clock() - self._down_at < DOWN_SECONDS

    @contextmanager
    def row(self) -> Iterator[None]:
        """One row. Raises `RequestError` if there is no room for it."""
        if self.waiting >= self.limit:
            raise RequestError("busy", f"{self.waiting} rows wait already; try again")
        if self.stuck:
            raise RequestError("not_ready", f"nothing was scored for {self.timeout:.0f} s while rows wait")
        # Time without requests is not time without answers.
        if not self.waiting:
            self._since = self.clock()
        self.waiting += 1
        try:
            yield
            self._since, self._down_at = self.clock(), None
        except Exception as error:
            if getattr(error, "kind", "failed") == "down":
                self._down_at = self.clock()
            # Any other error is an answer: the scorer works and has refused this row.
            if not isinstance(error, TimeoutError) and getattr(error, "kind", "failed") not in ("late", "down"):
                self._since = self.clock()
            raise
        finally:
            self.waiting -= 1


class _BaseService:
    """What both services share: the flow, and whether they were opened."""

    def __init__(self, limit: int, stuck_timeout: float) -> None:
        self.flow, self.opened = RequestFlow(limit, stuck_timeout), False

    @property
    def waiting(self) -> int:
        """Rows that were requested and not answered yet."""
        return self.flow.waiting

    def ready(self) -> bool:
        """True if rewards are available now."""
        return not self.reason()

    def reason(self) -> str:
        """Why it is not ready; "" while it is."""
        if not self.opened:
            return "the bundle is being loaded"
        if self.flow.stuck:
            return f"nothing was scored for {self.flow.timeout:.0f} s while rows wait"
        return "the profile store or the reward actors did not answer just now" if self.flow.down else ""

    async def score(self, request: RewardRequest, *, caller: str, deadline: float | None) -> RewardResult:
        """One reward. Raises `RequestError`."""
        if not self.opened:
            raise RequestError("not_ready", self.reason())
        try:
            with self.flow.row():
                # The scorer's own deadline fires first and says more than this one, which ends a call that hangs.
                async with asyncio.timeout(None if deadline is None else deadline + GRACE):
                    return await self._call(request, caller, deadline)
        except RequestError:
            raise
        except Exception as error:
            logger.warning("persona_rm: no reward, %s", failure_line(request, error, self.log_ids))
            raise request_error_of(error) from error

    @property
    def log_ids(self) -> LogIds:
        """How log lines write user ids."""
        return LogIds.unkept()

    async def _call(self, request: RewardRequest, caller: str, deadline: float | None) -> RewardResult:
        raise RequestError("failed", "this service has no scorer")


class ActorService(_BaseService):
    """One reward actor in this process. `make` builds it in a thread: a bundle of many users takes a while."""

    def __init__(self, make: Callable[[], RewardActor], limit: int = 4096, stuck_timeout: float = 60.0) -> None:
        super().__init__(limit, stuck_timeout)
        self.make = make
        self._actor: RewardActor | None = None

    async def open(self) -> None:
        """Load, and score a sentence. Raises what the bundle or its method raise."""
        # In a thread, so that the probes answer meanwhile.
        self._actor = await asyncio.to_thread(self.make)
        await self._actor.warm()
        self.opened = True

    @property
    def log_ids(self) -> LogIds:
        """Those of the actor."""
        return self._actor.log_ids if self._actor else super().log_ids

    async def info(self) -> dict[str, Any]:
        """The `info` of the actor."""
        return await self._actor.info() if self._actor else {}

    async def close(self) -> None:
        """Nothing more is scored. Calls that wait fail, and the actor closes its engines."""
        self.opened = False
        if self._actor is not None:
            await self._actor.close()

    async def _call(self, request: RewardRequest, caller: str, deadline: float | None) -> RewardResult:
        assert self._actor is not None
        return await self._actor.score(request, caller=caller, deadline=deadline)


class PoolService(_BaseService):
    """The reward actors of a cluster, through the client that the plugins use: it routes by user and retries.

    Each row waits in a thread of its own, which ends with the deadline: rows of one HTTP call fail, are counted and
    are cancelled one by one, so they do not travel as one batch.
    """

    def __init__(self, client: RewardClient, pool: Pool, limit: int = 4096, stuck_timeout: float = 60.0) -> None:
        super().__init__(limit, stuck_timeout)
        self.client, self.pool = client, pool
        # The client blocks and retries with pauses, so it cannot run on the event loop.
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ask")

    async def open(self) -> None:
        """Ask the actors what they serve. Raises `HostError` if none lives."""
        await self.info()
        self.opened = True

    @property
    def log_ids(self) -> LogIds:
        """Those of the client, which takes them from the actors."""
        return self.client.failures.log_ids

    async def info(self) -> dict[str, Any]:
        """The `info` of every actor."""
        return {"actors": await asyncio.to_thread(self.pool.info, 10)}

    async def close(self) -> None:
        """Cancel the calls that wait."""
        self.opened = False
        # A thread that waits between two retries cannot be cancelled. Its next pause raises an error instead.
        self.client.wait = _closing
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _call(self, request: RewardRequest, caller: str, deadline: float | None) -> RewardResult:
        work = partial(self.client.reward, request, deadline=deadline)
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _closing(_seconds: float) -> None:
    raise ScoreError("no reward actor answered: the service is closing", kind="down")
