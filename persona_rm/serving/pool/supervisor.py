"""The supervisor of a pool: an actor that checks the reward actors every few seconds and does what `scaling.decide`
says.

It restarts an actor that is stuck or silent, replaces an actor that died for good, and adds or ends actors inside the
bounds. It also lists the ready actors: clients send no request to a starting actor before it has scored a sentence, so
a restart costs its users a cold prefix cache and not the time in which a model is loaded. If the supervisor itself
dies, Ray restarts it, and it learns the state of the pool from the actors.
"""

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from persona_rm.errors import HostError
from persona_rm.serving.pool.fatal_rows import FatalRows
from persona_rm.serving.pool.named_actor import PREFIX, Spec, end, pool_names
from persona_rm.serving.pool.scaling import ActorStatus, Plan, Policy, Trend, decide

logger = logging.getLogger(__name__)
CHECK_TIMEOUT = 5.0
"""Seconds to wait for the answers of the actors at one check."""
NO_ROOM_PAUSE = 60.0
"""Seconds until the next attempt to create an actor after the cluster had no room for one."""


@dataclass
class _Record:
    """What is known about one actor. `since`: the time of its last answer, or of the beginning of its start."""

    handle: Any
    since: float
    ready: bool = False
    pid: int | None = None
    warming: Any = None


class Supervisor:
    """A plain class; `pool.start_pool` makes a Ray actor of it. With `start=False` no thread runs; call `check`."""

    def __init__(self, spec: Spec, policy: Policy, *, start: bool = True) -> None:
        self.spec, self.policy = spec, policy
        self.counts: Counter[str] = Counter()
        self.fatal_rows = FatalRows()
        self._records: dict[str, _Record] = {}
        self._serving: tuple[str, ...] = ()
        self._trend: Trend | None = None
        self._no_room_until = 0.0
        if start:
            threading.Thread(target=self._run, name="supervise", daemon=True).start()

    def names(self) -> list[str]:
        """The actors that can score now and are not about to end or restart."""
        return list(self._serving)

    def info(self) -> dict[str, Any]:
        """The ready actors, the target number, the policy, and what was done since this process started."""
        target = self._trend.target if self._trend else None
        bounds = asdict(self.policy)
        return {"ready": self.names(), "target": target, "policy": bounds, "counts": dict(self.counts)}

    def begin(self, actor: str, rows: Sequence[str]) -> None:
        """`FatalRows.begin`."""
        self.fatal_rows.begin(actor, rows)

    def done(self, actor: str) -> None:
        """`FatalRows.done`."""
        self.fatal_rows.done(actor)

    def lost(self, actor: str, rows: Sequence[str]) -> list[int]:
        """`FatalRows.lost`."""
        return self.fatal_rows.lost(actor, rows)

    def check(self) -> Plan:
        """Check all actors once, and carry out the plan that follows."""
        statuses, now = self._statuses(), time.monotonic()
        if self._trend is None:
            # The first check of this process. After a restart of the supervisor the living actors say how many were
            # wanted.
            target = min(max(self.policy.min_actors, len(statuses)), self.policy.max_actors)
            self._trend = Trend(target)
        plan, self._trend = decide(self.policy, self._trend, statuses, now)
        # The list for clients changes before the plan is carried out, so that no client is sent to an actor that is
        # about to end.
        leaving = {*self._trend.retiring, *plan.restart}
        self._serving = tuple(s.name for s in statuses if s.state == "ready" and s.name not in leaving)
        self._carry_out(plan)
        return plan

    def _run(self) -> None:
        while True:
            try:
                self.check()
            except Exception:  # one failed check must not end the supervision
                logger.exception("persona_rm: a check of the reward actors failed")
            time.sleep(self.policy.every)

    def _statuses(self) -> list[ActorStatus]:
        """Ask every actor for its `info`, all at the same time, and return the status of each."""
        import ray

        names = pool_names(self.spec.namespace)
        # A record that stays keeps its times and its running `warm`; records of actors that Ray no longer lists are
        # dropped.
        self._records = {name: self._records.get(name) or self._record(name) for name in names}
        requests = {name: record.handle.info.remote() for name, record in self._records.items()}
        done = (
            ray.wait(list(requests.values()), num_returns=len(requests), timeout=CHECK_TIMEOUT)[0] if requests else []
        )
        for name, ref in requests.items():
            if ref in done:
                self._update(self._records[name], ref)
        return [self._status(name, record, requests[name], done) for name, record in self._records.items()]

    def _record(self, name: str) -> _Record:
        import ray

        return _Record(ray.get_actor(name, namespace=self.spec.namespace), time.monotonic())

    def _update(self, record: _Record, ref: Any) -> None:
        """Update the record by an answer, or by the error of an actor that died."""
        import ray

        try:
            pid = ray.get(ref).get("pid")
        except ray.exceptions.RayError:
            if record.ready:
                self.counts["deaths"] += 1
                self._mark_starting(record)
            record.warming = None
            return
        # Ray has restarted the actor between two checks. The handle stays valid, only the process id tells; the new
        # process has no models yet.
        if record.ready and pid != record.pid:
            self.counts["deaths"] += 1
            self._mark_starting(record)
        record.pid = pid
        if record.ready:
            record.since = time.monotonic()
        else:
            self._warm(record)

    def _mark_starting(self, record: _Record) -> None:
        record.ready, record.since, record.warming = False, time.monotonic(), None

    def _warm(self, record: _Record) -> None:
        """Mark the actor as ready once it has scored a sentence."""
        import ray

        # The call is kept across checks, because loading a model takes longer than one check may.
        if record.warming is None:
            record.warming = record.handle.warm.remote()
        # A loaded model answers within this time. One that still loads is looked at again at the next check.
        if not ray.wait([record.warming], timeout=0.5)[0]:
            return
        ref, record.warming = record.warming, None
        try:
            ray.get(ref)
        except ray.exceptions.RayError as error:
            self.counts["cold"] += 1
            logger.warning("persona_rm: an actor cannot score yet (%s)", type(error).__name__)
            return
        record.ready, record.since = True, time.monotonic()

    def _status(self, name: str, record: _Record, ref: Any, done: list[Any]) -> ActorStatus:
        import ray

        silent = time.monotonic() - record.since
        if not record.ready:
            return ActorStatus(name, "starting", silent=silent)
        # Without an answer nothing is known about its queue. It is silent, so it does not count as idle.
        if ref not in done:
            return ActorStatus(name, silent=silent)
        info = ray.get(ref)
        return ActorStatus(name, waiting=int(info.get("waiting", 0)), stuck=float(info.get("stuck", 0)))

    def _carry_out(self, plan: Plan) -> None:
        import ray

        for name in plan.restart:
            logger.error("persona_rm: %s is stuck or silent, so it is restarted", name)
            # Ray starts the actor again under its name, on the resources that are reserved for it.
            ray.kill(self._records[name].handle, no_restart=False)
            self._mark_starting(self._records[name])
            self.counts["restarted"] += 1
        if plan.end:
            end(self.spec.namespace, *plan.end)
            self.counts["ended"] += len(plan.end)
        if plan.create and time.monotonic() >= self._no_room_until:
            self._create(plan.create)

    def _create(self, n: int) -> None:
        """Create `n` actors under the first free names. Without room in the cluster, pause for `NO_ROOM_PAUSE` s."""
        # The first free name: the actor that died under it left its reservation, which the new one takes over.
        free = (name for i in range(10**6) if (name := f"{PREFIX}{i}") not in self._records)
        for name, _ in zip(free, range(n), strict=False):
            try:
                self.spec.create(name)
                self.counts["created"] += 1
            except HostError as error:
                self._no_room_until = time.monotonic() + NO_ROOM_PAUSE
                self.counts["no_room"] += 1
                logger.warning("persona_rm: no room for %s: %s", name, error)
                return
