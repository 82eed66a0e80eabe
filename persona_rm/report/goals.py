"""What a figure should be, what it is called in words, and whether it is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from persona_rm.benchmarks.metrics import Figure

Verdict = Literal["ok", "miss", "explained", ""]


@dataclass(frozen=True, slots=True)
class Goal:
    """At least `low`, at most `high`, and at most `within[1]` below the figure named `within[0]`."""

    low: float | None = None
    high: float | None = None
    within: tuple[str, float] | None = None

    def met(self, value: float, values: Mapping[str, float]) -> bool:
        """Does `value` reach the goal? A figure to be near that was not measured cannot be missed."""
        near = self.within is None or value >= values.get(self.within[0], value) - self.within[1]
        return near and (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        if self.low is not None and self.high is not None:
            return f"{self.low:.2f} to {self.high:.2f}"
        text = f"{self.low:.2f} or more" if self.low is not None else f"{self.high:.2f} or less"
        return text + (f", within {self.within[1]:.2f} of {label(self.within[0])}" if self.within else "")


CHANCE = Goal(0.47, 0.53)
EMBEDDED_GOALS: Mapping[str, Goal] = {
    "pba_golden": Goal(0.90, within=("bayes_optimal", 0.07)),
    "pba_vote": Goal(0.70),
    "ica": Goal(0.65),
    "pba_golden_flip": Goal(0.80),
    "control_no_persona": CHANCE,
    "control_shuffled": CHANCE,
    "control_longer": CHANCE,
}

LABELS: Mapping[str, str] = {
    "bayes_optimal": "Bayes-optimal scorer",
    "bayes_optimal_expected": "Bayes-optimal, in theory",
    "pba_golden": "PBA, golden directions",
    "pba_vote": "PBA, directions by vote",
    "pba_golden_flip": "Flip success, PBA golden",
    "pba_golden_per_token": "PBA golden, per token",
    "pba_linear_golden": "PBA linear, golden",
    "pba_linear_vote": "PBA linear, by vote",
    "ica": "ICA, history in the prompt",
    "ica_shuffled": "ICA, shuffled history",
    "contrast": "Contrast",
    "bradley_terry": "Bradley-Terry, one for all",
    "gap_golden_minus_vote": "Gap, golden minus vote",
    "control_no_persona": "Control: no persona",
    "control_shuffled": "Control: shuffled persona",
    "control_longer": "Control: longer wins",
    "control_longer_words": "Control: more words win",
}


def label(name: str) -> str:
    """A figure's name in words; an unknown name stays as it is."""
    return LABELS.get(name, name)


def is_control(name: str) -> bool:
    """Does this figure belong at chance, or with the impersonal scorers, rather than among the methods?"""
    return name.startswith(("control_", "bradley_terry", "longer")) or "shuffled" in name


def verdict(figure: Figure, goals: Mapping[str, Goal], figures: Sequence[Figure], notes: Mapping[str, str]) -> Verdict:
    """ "ok" or "miss" against the goal; "explained" for a control off its band with a note; "" without a goal."""
    goal = goals.get(figure.name)
    if goal is None:
        return ""
    if goal.met(figure.value, {f.name: f.value for f in figures}):
        return "ok"
    return "explained" if is_control(figure.name) and notes.get(figure.name) else "miss"
