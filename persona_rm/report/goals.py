"""The goals of figures, their names in words, and whether a figure reaches its goal."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from persona_rm.benchmarks.figures import Figure

Verdict = Literal["ok", "miss", "explained", ""]


@dataclass(frozen=True, slots=True)
class Goal:
    """At least `low`, at most `high`, and at most `within[1]` below the figure named `within[0]`."""

    low: float | None = None
    high: float | None = None
    within: tuple[str, float] | None = None

    def met(self, value: float, values: Mapping[str, float]) -> bool:
        """Whether `value` reaches the goal. `within` counts only if its figure was measured."""
        near = self.within is None or value >= values.get(self.within[0], value) - self.within[1]
        return near and (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    def __str__(self) -> str:
        if self.low is not None and self.high is not None:
            return f"{self.low:.2f} to {self.high:.2f}"
        text = f"{_short(self.low)} or more" if self.low is not None else f"{_short(self.high or 0.0)} or less"
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
INFERENCE_GOALS: Mapping[str, Goal] = {
    "posterior_positive_precision": Goal(0.75),
    "posterior_positive_recall": Goal(0.60),
    "posterior_negative_precision": Goal(0.75),
    "posterior_negative_recall": Goal(0.60),
    "posterior_ece": Goal(high=0.03),
    "golden_gap_closed": Goal(0.60),
    "questions_to_match_16": Goal(high=10),
}

CLASSES = ("positive", "negative", "neutral")
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
    "contrast_golden": "Contrast, golden directions",
    "contrast_vote": "Contrast, directions by vote",
    "bradley_terry": "Bradley-Terry, one for all users",
    "gap_golden_minus_vote": "Gap, golden minus vote",
    "control_no_persona": "Control: no persona",
    "control_shuffled": "Control: shuffled persona",
    "control_longer": "Control: longer wins",
    "control_longer_words": "Control: more words win",
    "pba_posterior": "PBA, directions by posterior",
    "pba_recalled": "PBA, items like the prompt",
    "pba_recent": "PBA, the most recent items",
    "pba_linear_posterior": "PBA linear, by posterior",
    "control_posterior_shuffled": "Control: shuffled posterior",
    "gap_golden_minus_posterior": "Gap, golden minus posterior",
    "gap_posterior_minus_vote": "Gap, posterior minus vote",
    "golden_gap_closed": "Share of the golden gap closed",
    "posterior_ece": "Posterior, calibration error",
    "posterior_ece_before": "Posterior, calibration error before calibration",
    "vote_ece": "Vote shares, calibration error",
    "questions_to_match_16": "Questions that match 16 observed items (to a point, with 95 % confidence)",
    "questions_to_reach_16": "Questions until the accuracy is that of 16 observed items",
    "questions_to_match_16_random": "Random questions that match 16 observed items",
    **{
        f"{name}_{direction}_{kind}": f"{name.capitalize()}, {direction}, {kind}"
        for name in ("vote", "posterior")
        for direction in CLASSES
        for kind in ("precision", "recall")
    },
}


def goals_of(names: Collection[str], inference: bool = False) -> Mapping[str, Goal]:
    """The goals of a run that measured figures of these `names`.

    A run that evaluated inferred preferences (`inference`) has all goals of them, so that a figure that it lacks is
    named as missing. Other runs have the goals of what they measured.
    """
    measured = {name: goal for name, goal in INFERENCE_GOALS.items() if inference or name in names}
    return {**EMBEDDED_GOALS, **measured}


def label(name: str) -> str:
    """A figure's name in words; an unknown name stays as it is."""
    return LABELS.get(name, name)


def is_control(name: str) -> bool:
    """Whether this figure is a control: one that should be at chance, or a reward that is the same for all users."""
    return name.startswith(("control_", "bradley_terry", "longer")) or "shuffled" in name or name.endswith("_no_user")


def verdict(figure: Figure, goals: Mapping[str, Goal], figures: Sequence[Figure], notes: Mapping[str, str]) -> Verdict:
    """ "ok" or "miss" against the goal; "explained" for a control off its band with a note; "" without a goal."""
    goal = goals.get(figure.name)
    if goal is None:
        return ""
    if goal.met(figure.value, {f.name: f.value for f in figures}):
        return "ok"
    return "explained" if is_control(figure.name) and notes.get(figure.name) else "miss"


def _short(value: float) -> str:
    return f"{value:.0f}" if value > 1 and float(value).is_integer() else f"{value:.2f}"
