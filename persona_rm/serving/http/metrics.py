"""The metrics that Prometheus reads. Labels are routes, statuses and kinds: closed lists, never a user."""

import asyncio
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from persona_rm.serving.http.actor_metrics import ActorMetrics
from persona_rm.serving.http.service import Service

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 150.0)
ROWS = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
INFO_TIMEOUT = 2.0
"""Seconds that a scrape waits for the figures of the actors."""


class HttpMetrics:
    """Counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        # Not the global registry, in which two services of one process would clash.
        self.registry = CollectorRegistry()
        own: dict[str, Any] = {"registry": self.registry}
        self.requests = Counter("persona_rm_requests", "Calls, by route and status.", ["route", "status"], **own)
        self.seconds = Histogram(
            "persona_rm_request_seconds", "How long calls took.", ["route"], buckets=SECONDS, **own
        )
        self.rows = Histogram("persona_rm_request_rows", "Rows of a call.", buckets=ROWS, **own)
        self.failures = Counter("persona_rm_failures", "Calls without a reward, by kind.", ["kind"], **own)
        self.waiting = Gauge("persona_rm_waiting_rows", "Rows that were requested and not answered yet.", **own)
        self.batch = Gauge("persona_rm_batch_rows_mean", "Rows that are scored together, on average.", **own)
        self.ready = Gauge("persona_rm_ready", "1 if rewards are available.", **own)
        self.figures = ActorMetrics()
        self.registry.register(self.figures)

    def done(self, route: str, status: int, seconds: float) -> None:
        """One call was answered."""
        self.requests.labels(route, str(status)).inc()
        self.seconds.labels(route).observe(seconds)

    async def text(self, service: Service) -> bytes:
        """The metrics page. If the actors do not answer in time, their figures are the last known ones."""
        self.waiting.set(service.waiting)
        self.ready.set(service.ready())
        try:
            info = await asyncio.wait_for(service.info(), INFO_TIMEOUT)
        except Exception:  # noqa: BLE001 - a page without the actors' figures still says what is wrong
            self.failures.labels("down").inc()
        else:
            # The inference actor gives no rewards, so its batches are not counted.
            actors = [one for one in info.get("actors", [info]) if "inferrer" not in one]
            self.batch.set(sum(one.get("mean_batch", 0.0) for one in actors) / max(len(actors), 1))
            self.figures.take(actors)
        return generate_latest(self.registry)
