"""What the HTTP face asks for rewards: one reward actor in this process, or the pool of the cluster."""

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from persona_rm.errors import ScoreError
from persona_rm.serving.actor.reward_actor import RewardActor
from persona_rm.serving.client import RewardClient
from persona_rm.serving.curves import Ask, Reply
from persona_rm.serving.http.http_errors import RequestError, refusal_of
from persona_rm.serving.pool.pool import Pool

logger = logging.getLogger(__name__)
THREADS = 128
"""Calls to the pool under way at once."""
GRACE = 1.0
"""Seconds after its deadline in which a row may still say itself why it is late."""


class Service(Protocol):
    """Gives rewards. `score` raises `RequestError`, and nothing else on purpose."""

    @property
    def waiting(self) -> int: ...

    async def open(self) -> None: ...

    async def score(self, ask: Ask, *, caller: str, deadline: float | None) -> Reply: ...

    async def info(self) -> dict[str, Any]: ...

    def ready(self) -> bool: ...

    def reason(self) -> str: ...

    async def close(self) -> None: ...


class RequestFlow:
    """Rows under way: not more than `limit`, and stuck where rows wait and none was answered for `patience` seconds.

    A row that was cancelled, came too late or found nobody is no answer. Where nothing waits any more nothing is
    stuck: the next row tries.
    """

    def __init__(self, limit: int, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit, self.patience, self.clock = limit, patience, clock
        self.waiting, self._since = 0, clock()

    @property
    def stuck(self) -> bool:
        """True while rows wait in vain."""
        return self.waiting > 0 and self.clock() - self._since > self.patience

    @contextmanager
    def row(self) -> Iterator[None]:
        """One row. Raises `RequestError` where there is no room for it."""
        if self.waiting >= self.limit:
            raise RequestError("busy", f"{self.waiting} rows wait already; try again")
        if self.stuck:
            raise RequestError("not_ready", f"nothing was scored for {self.patience:.0f} s while rows wait")
        if not self.waiting:
            self._since = self.clock()
        self.waiting += 1
        try:
            yield
            self._since = self.clock()
        except Exception as error:
            if not isinstance(error, TimeoutError) and getattr(error, "kind", "failed") not in ("late", "down"):
                self._since = self.clock()
            raise
        finally:
            self.waiting -= 1


class _Watched:
    """What both services share: the flow, and whether they were opened."""

    def __init__(self, limit: int, patience: float) -> None:
        self.flow, self.opened = RequestFlow(limit, patience), False

    @property
    def waiting(self) -> int:
        """Rows that were asked for and not answered yet."""
        return self.flow.waiting

    def ready(self) -> bool:
        """True where a reward can be had now."""
        return not self.reason()

    def reason(self) -> str:
        """Why not; "" while it is ready."""
        if not self.opened:
            return "the bundle is being loaded"
        return f"nothing was scored for {self.flow.patience:.0f} s while rows wait" if self.flow.stuck else ""

    async def score(self, ask: Ask, *, caller: str, deadline: float | None) -> Reply:
        """One reward. Raises `RequestError`."""
        if not self.opened:
            raise RequestError("not_ready", self.reason())
        try:
            with self.flow.row():
                async with asyncio.timeout(None if deadline is None else deadline + GRACE):
                    return await self._call(ask, caller, deadline)
        except RequestError:
            raise
        except Exception as error:
            refusal = refusal_of(error)
            logger.warning("persona_rm: no reward, %s (%s)", refusal.kind, type(error).__name__)
            raise refusal from error

    async def _call(self, ask: Ask, caller: str, deadline: float | None) -> Reply:
        raise RequestError("failed", "nobody scores here")


class ActorService(_Watched):
    """One reward actor in this process. `make` builds it, in a thread: a bundle of many people takes a while."""

    def __init__(self, make: Callable[[], RewardActor], limit: int = 4096, patience: float = 60.0) -> None:
        super().__init__(limit, patience)
        self.make = make
        self._actor: RewardActor | None = None

    async def open(self) -> None:
        """Load, and score a sentence. Raises what the bundle or its method raise."""
        self._actor = await asyncio.to_thread(self.make)
        await self._actor.warm()
        self.opened = True

    async def info(self) -> dict[str, Any]:
        """The actor's."""
        return await self._actor.info() if self._actor else {}

    async def close(self) -> None:
        """Nothing more is scored; who waits is told, and the actor lets go of its engines."""
        self.opened = False
        if self._actor is not None:
            await self._actor.close()

    async def _call(self, ask: Ask, caller: str, deadline: float | None) -> Reply:
        assert self._actor is not None
        return await self._actor.score(ask, caller=caller, deadline=deadline)


class PoolService(_Watched):
    """The reward actors of a cluster, through the client that the plugins use: it routes by person and tries again.

    Each call waits in a thread of its own, which ends with the call's deadline.
    """

    def __init__(self, client: RewardClient, pool: Pool, limit: int = 4096, patience: float = 60.0) -> None:
        super().__init__(limit, patience)
        self.client, self.pool = client, pool
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="ask")

    async def open(self) -> None:
        """Ask the actors what they serve. Raises `HostError` where none lives."""
        await self.info()
        self.opened = True

    async def info(self) -> dict[str, Any]:
        """Of every actor."""
        return {"actors": await asyncio.to_thread(self.pool.info, 10)}

    async def close(self) -> None:
        """Give up what is under way."""
        self.opened = False
        self.client.wait = _closing
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _call(self, ask: Ask, caller: str, deadline: float | None) -> Reply:
        work = partial(
            self.client.reward, ask.user, ask.prompt, ask.response,
            bad_label=ask.bad_label, group=ask.group, deadline=deadline,
        )  # fmt: skip
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def _closing(_seconds: float) -> None:
    raise ScoreError("no reward actor answered: the service is closing", kind="down")
