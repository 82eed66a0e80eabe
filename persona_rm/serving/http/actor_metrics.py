"""The counters of the reward actors as Prometheus reads them: summed over actors, and never decreasing."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Any

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from persona_rm.bundle.engine_counters import ENGINE
from persona_rm.serving.actor.reward_actor import OUTCOMES, SIZES
from persona_rm.serving.optional_writes import WRITES

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "rows": OUTCOMES, "engine": ENGINE, "batches": (*map(str, SIZES), "more", "rows"), "unwritten": WRITES,
}  # fmt: skip
"""Parts of an actor's `info`, and their closed lists of keys."""


class ActorMetrics(Collector):
    """The last figures of each actor. A restarted actor counts from 0, so the counts before are added."""

    def __init__(self) -> None:
        self._now: dict[str, tuple[object, Counter[tuple[str, str]]]] = {}
        self._before: Counter[tuple[str, str]] = Counter()

    def take(self, infos: Sequence[Mapping[str, Any]]) -> None:
        """The `info` of each reward actor that answers."""
        for info in infos:
            name, process = str(info.get("name")), info.get("pid")
            process_before, counted = self._now.get(name, (process, Counter()))
            # Prometheus counters must not fall, so the counts of the ended process are kept.
            if process_before != process:
                self._before.update(counted)
            counts: Counter[tuple[str, str]] = Counter()
            for part, keys in FAMILIES.items():
                for key in keys:
                    counts[part, key] = int(info.get(part, {}).get(key, 0))
            self._now[name] = process, counts

    def collect(self) -> Iterator[Metric]:
        """Called by Prometheus at every scrape."""
        # Actors that ended stay in the sums: a counter that falls looks like a restart to Prometheus.
        sums = sum((counted for _, counted in self._now.values()), Counter(self._before))
        yield _counter("persona_rm_rows", "Requested rows by their outcome.", "outcome", "rows", sums)
        yield _counter("persona_rm_unwritten", "Failed writes beside the rewards.", "what", "unwritten", sums)
        yield _counter("persona_rm_engine", "What the log-prob engines did.", "what", "engine", sums)
        # Buckets of a Prometheus histogram are cumulative; the last key, `rows`, is the sum and no bucket.
        below = accumulate(sums["batches", key] for key in FAMILIES["batches"][:-1])
        buckets = list(zip([*(f"{size}.0" for size in SIZES), "+Inf"], below, strict=True))
        yield HistogramMetricFamily(
            "persona_rm_batch_rows", "Rows that were scored together.", buckets, sums["batches", "rows"]
        )


def _counter(
    name: str, description: str, label: str, part: str, sums: Mapping[tuple[str, str], int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, description, labels=[label])
    for key in FAMILIES[part]:
        family.add_metric([key], sums[part, key])
    return family
