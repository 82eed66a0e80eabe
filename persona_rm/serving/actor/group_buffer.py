"""Rewards of all samples of a prompt together: single calls wait for each other and are scored as a group.

Some rewards exist only in a group: win rates of methods without a scalar reward, and rewards that are normalised over
the samples of a prompt. The host asks for one sample at a time, so the buffer holds each call until its group is
complete, or until a timeout, after which the configured fallback applies. All calls of a group must reach the same
buffer and wait at the same time: a host with fewer open calls than a group has samples never completes a group.
"""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from persona_rm.bundle.postprocess_config import Fallback, GroupConfig
from persona_rm.errors import Full, ScoreError
from persona_rm.serving.sample_metrics import PREFIX

Item = TypeVar("Item")
Result = TypeVar("Result")
How = Literal["whole", "partial", "single"]
LOGS = f"{PREFIX}group/"


@dataclass(frozen=True, slots=True)
class Grouped(Generic[Result]):
    """The result of one item. `n` items were scored together; `how` says whether they were a whole group."""

    result: Result
    how: How
    n: int

    @property
    def logs(self) -> dict[str, float]:
        """Metrics with the same keys for every sample. The host's means of the first two are the shares of samples to
        which a fallback applied."""
        return {
            LOGS + "partial": float(self.how == "partial"),
            LOGS + "single": float(self.how == "single"),
            LOGS + "n": float(self.n),
        }


# Compared by identity: `submit` must tell its own group from a later one under the same key.
@dataclass(eq=False, slots=True)
class _Group(Generic[Item, Result]):
    """The calls that wait under one key."""

    size: int
    members: "list[tuple[Item, asyncio.Future[Grouped[Result]]]]" = field(default_factory=list)
    timer: asyncio.TimerHandle | None = None

    def prune(self) -> int:
        """Remove callers that were cancelled, and return how many remain. A cancelled future is seen before its caller
        wakes up."""
        self.members = [member for member in self.members if not member[1].done()]
        return len(self.members)


class GroupBuffer(Generic[Item, Result]):
    """`await submit(key, size, item)` returns the result of this item once `size` items of the key have arrived.

    `score_group` is called once with the items of a group, in the order of their arrival, and returns as many results
    in the same order. If it raises an error, every caller of the group gets that error. A caller that is cancelled
    while it waits leaves the group. A buffer serves one event loop at a time.
    """

    def __init__(
        self,
        score_group: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        wait: float = 60.0,
        fallback: Fallback = "fail",
        max_groups: int = 1024,
        least: int = 1,
    ) -> None:
        """`wait`: timeout of a group in seconds, from its first item. `max_groups`: maximum number of groups that wait
        or are being scored. `least`: minimum size of a partial group; a smaller one fails."""
        self.score_group, self.wait, self.fallback = score_group, wait, fallback
        self.max_groups, self.least = max_groups, least
        self._open: dict[Hashable, _Group[Item, Result]] = {}
        self._scoring: dict[asyncio.Task[None], list[asyncio.Future[Grouped[Result]]]] = {}
        self._closed = False

    @classmethod
    def of(
        cls, config: GroupConfig, score_group: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]]
    ) -> "GroupBuffer[Item, Result]":
        """The buffer that a bundle's config describes."""
        return cls(score_group, config.wait, config.fallback, config.max_groups, config.least)

    @property
    def waiting(self) -> int:
        """The number of groups that wait for samples."""
        return len(self._open)

    @property
    def scoring(self) -> int:
        """The number of groups that are being scored."""
        return len(self._scoring)

    async def submit(self, key: Hashable, size: int, item: Item) -> Grouped[Result]:
        """Wait for the group. An item beyond `size` starts the key's next group.

        Raises `Full` if there is no room for another group, and `ScoreError` if `size` is not that of the group, after
        `close`, and, with the fallback "fail", at the timeout.
        """
        group = self._group(key, size)
        future: asyncio.Future[Grouped[Result]] = asyncio.get_running_loop().create_future()
        group.members.append((item, future))
        # Cancelled members do not count, or a group would be scored as whole with fewer samples than its size.
        if group.prune() == group.size:
            self._close(key, group)
            self._start(group, "whole")
        try:
            return await future
        except asyncio.CancelledError:
            # The last call has left. The group is dropped, so that it takes no room of `max_groups` until its timer
            # fires.
            if self._open.get(key) is group and not group.prune():
                self._close(key, group)
            raise

    def close(self) -> None:
        """Every call that waits, or whose group is scored now, raises `ScoreError`, and so does every later call.
        Called on its event loop."""
        self._closed = True
        waiting = [future for group in self._open.values() for _, future in group.members]
        for key, group in list(self._open.items()):
            self._close(key, group)
        for task, futures in self._scoring.items():
            # A task that has not started yet is cancelled before it reaches the `except` of `_score`, so its futures
            # are failed here.
            waiting += futures
            task.cancel()
        _fail(waiting, ScoreError("the group buffer was closed before this was scored", kind="down"))

    def _group(self, key: Hashable, size: int) -> _Group[Item, Result]:
        if self._closed:
            raise ScoreError("this group buffer is closed: make another", kind="down")
        group = self._open.get(key)
        # A sample that expects another size cannot complete this group.
        if group is not None and group.size != size:
            raise ScoreError(f"a sample of a group of {size} came while one of {group.size} waits under the same key")
        if group is not None:
            return group
        if size < 1:
            raise ScoreError(f"a group has at least one sample, not {size}")
        # Groups that are being scored still hold their samples, so they count against the bound too.
        if len(self._open) + len(self._scoring) >= self.max_groups:
            state = f"{len(self._open)} groups wait and {len(self._scoring)} are scored"
            raise Full(f"{state}, and max_groups is {self.max_groups}: raise it, or send fewer groups at once")
        group = self._open[key] = _Group(size)
        group.timer = asyncio.get_running_loop().call_later(self.wait, self._expire, key, group)
        return group

    def _close(self, key: Hashable, group: _Group[Item, Result]) -> None:
        """Let no further item join this group."""
        del self._open[key]
        if group.timer is not None:
            group.timer.cancel()

    def _expire(self, key: Hashable, group: _Group[Item, Result]) -> None:
        """Apply the fallback to the calls that still wait, at the timeout of their group."""
        arrived = group.prune()
        self._close(key, group)
        if self.fallback == "single":
            for member in group.members:
                # Each sample is scored as a group of its own, so the failure of one does not fail the others.
                self._start(_Group(1, [member]), "single")
        elif self.fallback == "partial" and arrived >= self.least:
            self._start(group, "partial")
        else:
            state = f"{arrived} of {group.size} samples of a group arrived within {self.wait:g} s"
            late = ScoreError(f"{state}; the fallback is {self.fallback!r}", kind="group")
            _fail([future for _, future in group.members], late)

    def _start(self, group: _Group[Item, Result], how: How) -> None:
        if not group.members:
            return
        task = asyncio.get_running_loop().create_task(self._score(list(group.members), how))
        # The event loop keeps only weak references to tasks: this one keeps the task alive until it is done.
        self._scoring[task] = [future for _, future in group.members]
        task.add_done_callback(self._scoring.pop)

    async def _score(self, members: "list[tuple[Item, asyncio.Future[Grouped[Result]]]]", how: How) -> None:
        waiting = [future for _, future in members]
        try:
            results = await self.score_group([item for item, _ in members])
            if len(results) != len(members):
                raise ScoreError(f"scoring a group of {len(members)} samples gave {len(results)} results")
        except asyncio.CancelledError:
            cancelled = f"the scoring of a group of {len(members)} samples was cancelled"
            _fail(waiting, ScoreError(cancelled, kind="down"))
            raise
        except Exception as error:  # noqa: BLE001 - the callers get whatever scoring raises
            _fail(waiting, error)
            return
        for future, result in zip(waiting, results, strict=True):
            # The caller may have been cancelled while its group was scored.
            if not future.done():
                future.set_result(Grouped(result, how, len(members)))


def _fail(waiting: "Sequence[asyncio.Future[Any]]", error: Exception) -> None:
    for future in waiting:
        if not future.done():
            future.set_exception(error)
