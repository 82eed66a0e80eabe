"""What a check measured, as figures with intervals, and the verdict in one sentence."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from persona_rm.benchmarks.figures import Figure, mean_figure
from persona_rm.benchmarks.sign_bounds import ChangedOrders
from persona_rm.benchmarks.user_check import OWN, POOLED, SHUFFLED, HeldOut, HeldOutChecks
from persona_rm.io.text import counted

MATTERS = 0.02
"""A gain of less than two points of accuracy is not worth a personal reward."""
FEW_USERS = 10
"""Below so many users prompts are drawn for the intervals, because so few users say nothing about other users."""
FEWEST_PROMPTS = 5
Z_INTERVAL, Z_POWER = 3.92, 2.80
"""Standard errors in a 95 % interval, and those that a gain must have to be seen in four of five trials."""
Answer = Literal["helps", "does not help", "too little data"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """`answer`, the sentence that says it, and how many more comparisons would tell (None if that is no question)."""

    answer: Answer
    sentence: str
    more_comparisons: int | None = None


@dataclass(frozen=True, slots=True)
class UserCheck:
    """The figures of a check. Names: `personal`, `pooled`, `shuffled`, `longer` and other methods for the same users,
    `gain` (personal minus pooled) and `own_minus_swapped`; for new users the same with `k4.` in front."""

    figures: Mapping[str, Figure]
    helped: float
    hurt: float
    """Shares of users for whom the personal method is right more often, or less often, than the pooled reward."""
    worst_tenth: Mapping[str, float]
    """The mean accuracy of the tenth of the users with the lowest one, by method."""
    n_users: int
    n_pairs: int
    drawn: Literal["users", "prompts"]
    """What the intervals draw."""
    left_out: Mapping[int, str]
    no_history: int
    verdict: Verdict
    personal: str
    """The name of the personal method."""
    methods_left_out: Mapping[str, str] = field(default_factory=dict)
    """Methods that could not be measured on these users, with the reason."""

    def to_dict(self) -> dict[str, Any]:
        """The check as plain JSON."""
        return {
            "personal_method": self.personal,
            "users": self.n_users,
            "held_out_comparisons": self.n_pairs,
            "held_out_without_history": self.no_history,
            "interval_by": self.drawn,
            "figures": [figure.to_dict() for figure in self.figures.values()],
            "share_of_users_helped": self.helped,
            "share_of_users_hurt": self.hurt,
            "worst_tenth": dict(self.worst_tenth),
            "methods_left_out": dict(self.methods_left_out),
            "new_users_left_out": {str(k): reason for k, reason in self.left_out.items()},
            "verdict": self.verdict.answer,
            "sentence": self.verdict.sentence,
            "more_comparisons": self.verdict.more_comparisons,
        }


def concluded(measured: HeldOutChecks, personal: str, *, seed: int = 0, resamples: int = 2000) -> UserCheck:
    """The figures and the verdict of a check by the personal method of this name."""
    same = measured.same
    by_user = len(set(same.users)) >= FEW_USERS
    figures: dict[str, Figure] = {}
    enough = len(set(same.users)) >= 2 and (by_user or len(set(same.prompts)) >= FEWEST_PROMPTS)
    if enough:
        for prefix, rows in {"": same, **{f"k{k}.": rows for k, rows in measured.new.items()}}.items():
            for figure in _figures(prefix, rows, by_user=by_user, seed=seed, resamples=resamples):
                figures[figure.name] = figure
    helped, hurt = _helped(same)
    return UserCheck(
        figures, helped, hurt, {name: _worst_tenth(same, name) for name in same.right}, len(set(same.users)),
        len(same), "users" if by_user else "prompts", measured.left_out, measured.no_history,
        _verdict(figures, same, personal), personal,
    )  # fmt: skip


def _figures(prefix: str, rows: HeldOut, *, by_user: bool, seed: int, resamples: int) -> list[Figure]:
    units = rows.users if by_user else rows.prompts
    columns = {name: rows.column(name) for name in rows.right}
    columns["gain"] = columns[OWN] - columns[POOLED]
    columns["own_minus_swapped"] = columns[OWN] - columns[SHUFFLED]
    return [
        mean_figure(prefix + name, values, units, seed=seed, resamples=resamples) for name, values in columns.items()
    ]


def _by_user(rows: HeldOut, name: str) -> np.ndarray:
    """The mean accuracy of each user, in the order of sorted ids."""
    users, index = np.unique(np.asarray(rows.users, dtype=object).astype(str), return_inverse=True)
    means: np.ndarray = np.bincount(index, rows.column(name), len(users)) / np.bincount(index, minlength=len(users))
    return means


def _helped(rows: HeldOut) -> tuple[float, float]:
    if not len(rows):
        return 0.0, 0.0
    change = _by_user(rows, OWN) - _by_user(rows, POOLED)
    return float((change > 0).mean()), float((change < 0).mean())


def _worst_tenth(rows: HeldOut, name: str) -> float:
    means = np.sort(_by_user(rows, name))
    return float(means[: max(1, len(means) // 10)].mean())


@dataclass(frozen=True, slots=True)
class _Difference:
    """A difference of accuracies with both of its intervals: by the bootstrap, and by counting changed orders."""

    against: str
    figure: Figure
    orders: ChangedOrders

    @property
    def low(self) -> float:
        return min(self.figure.low, self.orders.low())

    @property
    def high(self) -> float:
        return max(self.figure.high, self.orders.high())

    def more(self) -> int:
        """How many more comparisons would tell, by the interval that asks for more."""
        return max(more_comparisons(self.figure, self.orders.n), self.orders.more_for(MATTERS))


def _verdict(figures: Mapping[str, Figure], rows: HeldOut, personal: str) -> Verdict:
    """The rule. Two differences decide: personal minus pooled, and own state minus another user's. Each has a 95 %
    interval by the bootstrap (over users) and one by counting the comparisons that change (`sign_bounds`); the wider
    bound holds, because each interval is too narrow on its own: the bootstrap if few comparisons change, the count if
    those of one user are alike.

    It helps if both differences are above 0. It does not help if one of them cannot reach `MATTERS`. Otherwise there
    is too little data.
    """
    users = len(set(rows.users))
    if "gain" not in figures:
        return Verdict(
            "too little data",
            f"Too little data to know: {counted(len(rows), 'comparison')} of {counted(users, 'user')} could be held "
            f"out under other prompts than those of their history. At least 2 users and {FEWEST_PROMPTS} prompts are "
            "needed.",
        )
    gain = _Difference("the pooled reward", figures["gain"], ChangedOrders.of(rows.column(OWN) - rows.column(POOLED)))
    own = _Difference(
        "the state of another user", figures["own_minus_swapped"],
        ChangedOrders.of(rows.column(OWN) - rows.column(SHUFFLED)),
    )  # fmt: skip
    both = (gain, own)
    measured = ", ".join(f"{_points(one.figure)} against {one.against}" for one in both)
    if min(one.low for one in both) > 0:
        return Verdict("helps", f"A personal reward ({personal}) helps these users: {measured}.")
    if min(one.high for one in both) < MATTERS:
        against = next(one.against for one in both if one.high < MATTERS)
        return Verdict(
            "does not help",
            f"A personal reward ({personal}) does not help these users: {measured}. A gain of {MATTERS * 100:g} "
            f"points over {against} is ruled out with 95 % confidence.",
        )
    more = max(one.more() for one in both if one.low <= 0)
    more_users = math.ceil(more * users / len(rows))
    return Verdict(
        "too little data",
        f"Too little data to know whether a personal reward ({personal}) helps these users: {measured}."
        f"{_few_changes(both)} About {counted(more, 'more comparison')} by {counted(more_users, 'more user')} like "
        "these would tell.",
        more,
    )


def _few_changes(differences: Sequence[_Difference]) -> str:
    """Said if the bootstrap alone would have decided: why its interval is not believed."""
    for one in differences:
        figure, orders = one.figure, one.orders
        if figure.low > 0 >= one.low or figure.high < MATTERS <= one.high:
            return (
                f" Only {orders.changed:,} of {counted(orders.n, 'held-out comparison')} are ordered differently than "
                f"by {one.against} ({orders.won:,} better, {orders.lost:,} worse), so anything from "
                f"{one.low * 100:+.1f} to {one.high * 100:+.1f} points is possible."
            )
    return ""


def more_comparisons(difference: Figure, n: int) -> int:
    """How many more held-out comparisons would show the difference in four of five trials: n ((2.8 SE / d)^2 - 1).

    d is the difference, at least `MATTERS`. More comparisons are meant to come from more users, because those of one
    user are not independent.
    """
    error = (difference.high - difference.low) / Z_INTERVAL
    ratio = (Z_POWER * error / max(difference.value, MATTERS)) ** 2
    return max(1, math.ceil(n * (ratio - 1)))


def _points(figure: Figure) -> str:
    return f"{figure.value * 100:+.1f} points [{figure.low * 100:+.1f}, {figure.high * 100:+.1f}]"
