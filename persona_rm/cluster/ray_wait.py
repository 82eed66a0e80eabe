"""Waits on Ray that end.

Ray waits for ever for a task that fits on no node, and says nothing. Every wait of this library on Ray's scheduler
therefore goes through this module: if nothing moves for a while, the terminal shows what waits for room and what each
node has; if nothing moves until the limit, the wait ends with the same report as an error.
"""

import time
from collections.abc import Callable, Sequence
from threading import Thread
from typing import Any, TypeVar

from persona_rm.cluster.ray_nodes import cluster_report
from persona_rm.errors import HostError
from persona_rm.extras import extra_needed
from persona_rm.io.terminal import make_console

T = TypeVar("T")
EVERY = 0.5
"""Seconds between two looks at the progress."""
TOLD_AFTER = 1 / 3
"""The share of the limit after which a wait without progress is reported for the first time."""
console = make_console(stderr=True)


class StallClock:
    """How long there has been no progress. `limit` is in seconds; `what` begins the report and the error."""

    def __init__(self, what: str, limit: float) -> None:
        self.what, self.limit = what, limit
        self._seen: object = None
        self._since, self._told = time.monotonic(), False

    def look(self, progress: object) -> None:
        """`progress` is any value that changes when something was done. Raises `HostError` after `limit` seconds with
        the same value."""
        now = time.monotonic()
        if progress != self._seen:
            self._seen, self._since, self._told = progress, now, False
            return
        still = now - self._since
        if still >= self.limit:
            raise HostError(
                f"{self.what}: no progress for {still:.0f} s, so the wait was ended. {cluster_report()}. Free what "
                "others hold, add a node, or ask for less per actor; if the work is only slow, allow more time"
            )
        if still >= self.limit * TOLD_AFTER and not self._told:
            self._told = True
            console.print(f"{self.what}: no progress for {still:.0f} s (ends at {self.limit:g} s). {cluster_report()}")


def watched(what: str, work: Callable[[], T], progress: Callable[[], object], limit: float) -> T:
    """The result of `work()`, which waits on Ray inside (Ray Data). It runs in a thread, and this one watches.

    Raises what `work` raises, and `HostError` if `progress()` stays the same for `limit` seconds. The thread cannot be
    ended from outside; it ends when the caller disconnects from Ray.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 - raised again below, in the thread that waits
            errors.append(error)

    clock = StallClock(what, limit)
    thread = Thread(target=run, name="waits on Ray", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(EVERY)
        if thread.is_alive():
            clock.look(progress())
    if errors:
        raise errors[0]
    return results[0]


def ray_results(what: str, refs: Sequence[Any], limit: float) -> list[Any]:
    """The results of Ray calls, in their order. Each that ends is progress.

    Raises the error of a call as soon as it has one, and `HostError` if none ends for `limit` seconds; the others are
    then cancelled.
    """
    with extra_needed("a Ray cluster"):
        import ray

    clock, waiting = StallClock(what, limit), list(refs)
    try:
        while waiting:
            ended, waiting = ray.wait(waiting, num_returns=1, timeout=EVERY)
            ray.get(ended)  # raises the error of a call that failed
            clock.look(len(waiting))
    except BaseException:
        for ref in waiting:
            _cancel(ref)
        raise
    return list(ray.get(list(refs)))


def _cancel(ref: Any) -> None:
    import ray

    try:
        ray.cancel(ref)
    except (ray.exceptions.RayError, TypeError, ValueError):
        # The error that led here is raised; a call that cannot be cancelled (of an actor, or one that ended) stays.
        return
