"""The decisions of a supervisor: which actors to restart, and whether to add an actor or to end one.

The functions are pure: (policy, state of the last check, status of each actor now) -> (plan, new state).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Policy:
    """The bounds of the pool and the limits of the supervisor. Times are in seconds."""

    min_actors: int = 1
    max_actors: int = 1
    stuck_after: float = 100.0
    """Timeout of one call of the method. A third of the client's deadline, so that time is left for another actor."""
    silent_after: float = 60.0
    """Timeout of a ready actor that does not answer."""
    start_after: float = 300.0
    """Timeout of a starting actor, which loads its models, until it has scored a sentence."""
    busy_rows: float = 64.0
    """One actor is added if on average more rows than this wait per actor in `busy_checks` consecutive checks."""
    busy_checks: int = 5
    idle_seconds: float = 600.0
    """One actor is ended after all have been idle for this time. A PPO step without rollouts takes minutes."""
    drain_seconds: float = 15.0
    """Drain time, from the moment an actor is no longer listed until it ends: clients refresh their list every 5 s."""
    every: float = 2.0
    """The time between two checks."""


@dataclass(frozen=True, slots=True)
class ActorStatus:
    """The status of one actor at one check.

    `waiting`: rows in its queue. `stuck`: seconds since its running call of the method began. `silent`: seconds since
    its last answer, or since the beginning of its start while it starts; 0 if it answered this check.
    """

    name: str
    state: Literal["ready", "starting"] = "ready"
    waiting: int = 0
    stuck: float = 0.0
    silent: float = 0.0

    @property
    def idle(self) -> bool:
        """True if the actor answers, no row waits and no call is running."""
        return self.state == "ready" and self.silent == 0 and self.waiting == 0 and self.stuck == 0


@dataclass(frozen=True, slots=True)
class Trend:
    """The state that is kept from check to check.

    `target`: the wanted number of actors. `busy`: consecutive checks at which too many rows waited. `idle_since`: when
    all actors became idle. `retiring`: actor -> since when it is drained, that is, no longer listed for clients.
    """

    target: int
    busy: int = 0
    idle_since: float | None = None
    retiring: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """The actions: actors to restart, the number of actors to create, and actors to end for good."""

    restart: tuple[str, ...] = ()
    create: int = 0
    end: tuple[str, ...] = ()


def decide(policy: Policy, trend: Trend, statuses: Sequence[ActorStatus], now: float) -> tuple[Plan, Trend]:
    """One check. The target changes by at most one, inside the bounds. An actor that died for good is replaced."""
    trend = _forget_gone(trend, statuses)
    # Retiring actors are not listed for clients any more, so their queues say nothing about the need for actors.
    working = [status for status in statuses if status.name not in trend.retiring]
    trend = _grown(policy, trend, working)
    trend = _shrunk(policy, trend, working, now)
    drained = [name for name, since in trend.retiring.items() if now - since >= policy.drain_seconds]
    # A drained actor that still works is left to finish: a client with an older list may have called it.
    end = tuple(status.name for status in statuses if status.name in drained and status.idle)
    restart = tuple(status.name for status in statuses if _hangs(policy, status))
    # `_grown` and `_shrunk` come first, because they may keep a retiring actor or retire another one.
    staying = [status for status in statuses if status.name not in trend.retiring]
    return Plan(restart, max(trend.target - len(staying), 0), end), trend


def _forget_gone(trend: Trend, statuses: Sequence[ActorStatus]) -> Trend:
    """The state without the retiring actors that have ended."""
    living = {status.name for status in statuses}
    return replace(trend, retiring={name: since for name, since in trend.retiring.items() if name in living})


def _hangs(policy: Policy, status: ActorStatus) -> bool:
    """True if an actor exceeds a timeout, so that it must be restarted."""
    if status.state == "starting":
        # Loading a model blocks the actor, so a start has a longer timeout for both.
        return max(status.silent, status.stuck) > policy.start_after
    return status.silent > policy.silent_after or status.stuck > policy.stuck_after


def _grown(policy: Policy, trend: Trend, working: Sequence[ActorStatus]) -> Trend:
    """Raise the target if rows pile up. The actor that was retired last is kept instead of creating a new one.

    Nothing changes while an actor starts, because that actor may be enough.
    """
    if any(status.state == "starting" for status in working) or not working:
        return trend
    mean_waiting = sum(status.waiting for status in working) / len(working)
    busy = trend.busy + 1 if mean_waiting > policy.busy_rows else 0
    if busy < policy.busy_checks or trend.target >= policy.max_actors:
        return replace(trend, busy=busy)
    # `busy` restarts at 0: the next actor needs `busy_checks` further checks, and none counts while this one starts.
    kept = dict(list(trend.retiring.items())[:-1])
    return replace(trend, target=trend.target + 1, busy=0, retiring=kept)


def _shrunk(policy: Policy, trend: Trend, working: Sequence[ActorStatus], now: float) -> Trend:
    """Lower the target if all actors were idle for long enough, and retire the last one of the list."""
    if not working or not all(status.idle for status in working):
        return replace(trend, idle_since=None)
    since = trend.idle_since if trend.idle_since is not None else now
    if now - since < policy.idle_seconds or trend.target <= policy.min_actors:
        return replace(trend, idle_since=since)
    # An actor that is wanted and missing need not be retired: a lower target is enough.
    if len(working) < trend.target:
        return replace(trend, target=trend.target - 1, idle_since=now)
    # The idle time starts anew as well, so that actors leave one at a time.
    retiring = {**trend.retiring, working[-1].name: now}
    return replace(trend, target=trend.target - 1, idle_since=now, retiring=retiring)
