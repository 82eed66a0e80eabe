"""The decisions of a supervisor: which actors to restart, and whether to add or to end one.

Pure functions: (policy, trend so far, status of the actors) -> (plan, new trend).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal


@dataclass(frozen=True, slots=True)
class Policy:
    """Bounds and limits. Seconds, and rows that wait in front of an actor."""

    min_actors: int = 1
    max_actors: int = 1
    stuck_after: float = 100.0
    """Limit of one call of the method. A third of the client's deadline leaves time to ask another actor."""
    silent_after: float = 60.0
    """Limit of the time without an answer of an actor."""
    start_after: float = 300.0
    """Limit from the start of an actor until it has scored a sentence: models are loaded meanwhile."""
    busy_rows: float = 64.0
    """If more rows than this wait on average at `busy_checks` consecutive looks, an actor is added."""
    busy_checks: int = 5
    idle_seconds: float = 600.0
    """After so long without work an actor is ended. A PPO step without rollouts takes minutes."""
    drain_seconds: float = 15.0
    """From the moment an actor gets no new calls until it ends: clients look up the actors every 5 s."""
    every: float = 2.0


@dataclass(frozen=True, slots=True)
class ActorStatus:
    """One look at one actor. `silent`: seconds since it last answered, or, while it starts, since it began to."""

    name: str
    state: Literal["ready", "starting"] = "ready"
    waiting: int = 0
    stuck: float = 0.0
    silent: float = 0.0

    @property
    def idle(self) -> bool:
        """It answers, nothing waits and nothing runs."""
        return self.state == "ready" and self.silent == 0 and self.waiting == 0 and self.stuck == 0


@dataclass(frozen=True, slots=True)
class Trend:
    """What is remembered between looks. `retiring`: actors that get no new calls, and since when."""

    target: int
    busy: int = 0
    idle_since: float | None = None
    retiring: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to do: restart these, create so many, end these for good."""

    restart: tuple[str, ...] = ()
    create: int = 0
    end: tuple[str, ...] = ()


def decide(policy: Policy, trend: Trend, sights: Sequence[ActorStatus], now: float) -> tuple[Plan, Trend]:
    """One step. The target moves by one at a time, inside the bounds; an actor that died for good is created again."""
    trend = _forget_gone(trend, sights)
    working = [sight for sight in sights if sight.name not in trend.retiring]
    trend = _grown(policy, trend, working)
    trend = _shrunk(policy, trend, working, now)
    drained = [name for name, since in trend.retiring.items() if now - since >= policy.drain_seconds]
    end = tuple(sight.name for sight in sights if sight.name in drained and sight.idle)
    restart = tuple(sight.name for sight in sights if _lost(policy, sight))
    staying = [sight for sight in sights if sight.name not in trend.retiring]
    return Plan(restart, max(trend.target - len(staying), 0), end), trend


def _forget_gone(trend: Trend, sights: Sequence[ActorStatus]) -> Trend:
    living = {sight.name for sight in sights}
    return replace(trend, retiring={name: since for name, since in trend.retiring.items() if name in living})


def _lost(policy: Policy, sight: ActorStatus) -> bool:
    limit = policy.silent_after if sight.state == "ready" else policy.start_after
    return sight.silent > limit or sight.stuck > (policy.stuck_after if sight.state == "ready" else policy.start_after)


def _grown(policy: Policy, trend: Trend, working: Sequence[ActorStatus]) -> Trend:
    """Add one if rows pile up; an actor that drains is kept first. Nothing while an actor starts: it may be enough."""
    if any(sight.state == "starting" for sight in working) or not working:
        return trend
    busy = trend.busy + 1 if sum(s.waiting for s in working) / len(working) > policy.busy_rows else 0
    if busy < policy.busy_checks or trend.target >= policy.max_actors:
        return replace(trend, busy=busy)
    kept = dict(list(trend.retiring.items())[:-1])
    return replace(trend, target=trend.target + 1, busy=0, retiring=kept)


def _shrunk(policy: Policy, trend: Trend, working: Sequence[ActorStatus], now: float) -> Trend:
    """End one after a long idle time, the last of the list."""
    if not working or not all(sight.idle for sight in working):
        return replace(trend, idle_since=None)
    since = trend.idle_since if trend.idle_since is not None else now
    if now - since < policy.idle_seconds or trend.target <= policy.min_actors:
        return replace(trend, idle_since=since)
    if len(working) < trend.target:
        return replace(trend, target=trend.target - 1, idle_since=now)
    retiring = {**trend.retiring, working[-1].name: now}
    return replace(trend, target=trend.target - 1, idle_since=now, retiring=retiring)
