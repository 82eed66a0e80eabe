"""What `persona-rm bench` says about one method on one set: figures with intervals by user, from margins alone."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from persona_rm.benchmarks.bench_protocol import SEEN, Margins, MethodRun
from persona_rm.benchmarks.figures import Figure, Floats, accuracy, mean_figure
from persona_rm.benchmarks.user_verdict import FEW_USERS
from persona_rm.maths import sigmoids

BINS = 10
POINT = 0.01
"""A user is hurt (helped) if the accuracy falls (rises) by more than this and by more than one standard error."""


@dataclass(frozen=True, slots=True)
class BenchRow:
    """The figures of one method on one set for new users with k comparisons, or for seen users (k = "seen").

    `figures`: `accuracy`, `pooled` (the accuracy of its own prior), `log_loss`, `gain` (personal minus pooled),
    `own_minus_shuffled`, `gain_without_mispredicted` (without users whom pooled predicts below 50 %), and
    `minus_reference` (minus the pooled accuracy of the reference method) if there is one. Accuracies are shares.
    """

    method: str
    k: int | str
    figures: Mapping[str, Figure]
    calibration_error: float
    """Expected calibration error of the probability of the chosen response, in ten bins."""
    helped: float
    hurt: float
    worst_tenth: float
    worst_tenth_pooled: float
    users: int
    mispredicted: int
    """Users whom pooled predicts below 50 %."""
    interval_by: str
    fit_seconds: float
    adapt_ms: float
    state_bytes: float

    def to_dict(self) -> dict[str, Any]:
        """The row as plain JSON."""
        return {**asdict(self), "figures": {name: figure.to_dict() for name, figure in self.figures.items()}}


def bench_rows(run: MethodRun, reference: MethodRun | None = None, *, seed: int = 0) -> list[BenchRow]:
    """One row per k, and one for seen users; tables without two users are left out."""
    rows = []
    for k, table in run.tables.items():
        if len(set(table.users)) >= 2:
            base = None if reference is None else reference.tables[k]
            rows.append(_row(run, "seen" if k == SEEN else k, table, base, seed))
    return rows


def _row(run: MethodRun, k: int | str, table: Margins, base: Margins | None, seed: int) -> BenchRow:
    own, pooled = right(table.own), right(table.pooled)
    users = np.unique(table.users, return_inverse=True)[1]
    by_user = bool(users.max() + 1 >= FEW_USERS)
    units = table.users if by_user else table.groups
    columns: dict[str, Floats] = {
        "accuracy": own, "pooled": pooled, "log_loss": np.logaddexp(0, -np.asarray(table.own)), "gain": own - pooled,
        "own_minus_shuffled": own - right(table.shuffled),
    }  # fmt: skip
    if base is not None:
        columns["minus_reference"] = own - right(base.pooled)
    figures = {name: mean_figure(name, values, units, seed=seed) for name, values in columns.items()}
    means = by_user_means(pooled, users)
    fair = means[users] >= 0.5
    if len(set(np.asarray(units)[fair].tolist())) >= 2:
        kept = [unit for unit, keep in zip(units, fair, strict=True) if keep]
        name = "gain_without_mispredicted"
        figures[name] = mean_figure(name, (own - pooled)[fair], kept, seed=seed)
    helped, hurt = changed_users(own - pooled, users)
    return BenchRow(
        run.name, k, figures, calibration_error(np.asarray(table.own)), helped, hurt,
        worst_tenth(by_user_means(own, users)), worst_tenth(means), len(means), int((means < 0.5).sum()),
        "user" if by_user else "group", float(np.median(run.fit_seconds)),
        1000 * float(np.median(run.adapt_seconds or [0.0])), float(np.mean(run.state_bytes or [0.0])),
    )  # fmt: skip


def right(margins: Sequence[float]) -> Floats:
    """1 for a margin above 0, 0.5 for none, 0 below."""
    return accuracy(margins, np.zeros(len(margins)))


def by_user_means(values: Floats, users: np.ndarray) -> Floats:
    """The mean of each user's values; `users` are numbers from 0."""
    return np.bincount(users, values) / np.bincount(users)


def changed_users(difference: Floats, users: np.ndarray) -> tuple[float, float]:
    """The shares of users helped and hurt: by more than `POINT` and one paired standard error of the user's mean."""
    counts = np.bincount(users)
    means = by_user_means(difference, users)
    squares = np.bincount(users, (difference - means[users]) ** 2)
    errors = np.sqrt(squares / np.maximum(counts - 1, 1) / counts)
    bar = np.maximum(errors, POINT)
    return float((means > bar).mean()), float((means < -bar).mean())


def worst_tenth(means: Floats) -> float:
    """The mean accuracy of the tenth of users with the lowest one."""
    return float(np.sort(means)[: max(1, len(means) // 10)].mean())


def calibration_error(margins: Floats) -> float:
    """Expected calibration error of P(chosen) = sigmoid(margin), in ten bins of equal width.

    Each comparison counts from both sides, (p, 1) and (1 - p, 0), so that the order of its sides does not matter.
    """
    p = sigmoids(margins)
    said, came = np.concatenate([p, 1 - p]), np.concatenate([np.ones(len(p)), np.zeros(len(p))])
    bins = np.minimum((said * BINS).astype(int), BINS - 1)
    gaps = np.bincount(bins, said - came, BINS)
    return float(np.abs(gaps).sum() / len(said))
