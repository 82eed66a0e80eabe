"""Run a method over cases: adapt, score in batches, count failures, and turn rewards into figures."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console

from persona_rm.benchmarks.base import Case, CaseScorer
from persona_rm.benchmarks.controls import reversed_directions, truncate_history
from persona_rm.benchmarks.figures import Figure, Floats, accuracy, flips, mean_figure
from persona_rm.errors import DataError, ScoreError
from persona_rm.io.progress_bar import progress_bar
from persona_rm.types import Persona, RewardRequest, UserState

SIZES = (2, 4, 8, 16)


@dataclass(frozen=True, slots=True)
class Rewards:
    """r(chosen), r(rejected) per case, shape (n, 2). A failed case is NaN, is False in `ok`, and has its reason."""

    cases: tuple[Case, ...]
    values: Floats
    failures: dict[int, str] = field(default_factory=dict)

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """True for the cases that were scored, shape (n,)."""
        return np.asarray(np.isfinite(self.values).all(axis=1))

    @property
    def units(self) -> np.ndarray:
        """The bootstrap unit of each case."""
        return np.array([case.unit for case in self.cases], dtype=object)

    @property
    def margins(self) -> Floats:
        """r(chosen) - r(rejected)."""
        return np.asarray(self.values[:, 0] - self.values[:, 1])


def evaluate(
    method: CaseScorer, cases: Sequence[Case], batch: int = 16, *, label: str = "", console: Console | None = None
) -> Rewards:
    """Adapt `method` to each case's persona and score its pair, `batch` cases a call; a progress bar is on `console`.

    A `ScoreError` costs the cases it names and no others: the rest of the batch is scored again without them, and
    if it names none, each case is tried alone. Failures are kept with their reason. Raises `ScoreError` if every case
    failed.
    """
    values, failures, states = np.full((len(cases), 2), np.nan), dict[int, str](), dict[Persona, UserState]()
    with progress_bar(console, label or "scoring", len(cases)) as update:
        for start in range(0, len(cases), batch):
            rows = list(range(start, min(start + batch, len(cases))))
            pairs = {}
            for row in rows:
                persona = cases[row].example.persona
                try:
                    # Cases with equal evidence share one state, so a user is adapted once.
                    if persona not in states:
                        states[persona] = method.adapt(persona)
                except ScoreError as error:
                    failures[row] = str(error)
                else:
                    pairs[row] = (states[persona], cases[row])
            _score(method, pairs, values, failures)
            update(start + len(rows))
    # A method that scores nothing is set up wrong; figures over no case would hide that.
    if cases and len(failures) == len(cases):
        raise ScoreError(
            f"{label or 'the method'} scored none of {len(cases)} cases; the first: {failures[min(failures)]}"
        )
    if failures and console:
        console.print(
            f"{label}: {len(failures)} of {len(cases)} cases got no score; {failures[min(failures)]}",
            style="yellow",
        )
    return Rewards(tuple(cases), values, failures)


def _score(
    method: CaseScorer, pairs: dict[int, tuple[UserState, Case]], values: Floats, failures: dict[int, str]
) -> None:
    """Fill `values` for every case that can be scored and `failures` for the others."""
    rows, states, requests = list(pairs), [], []
    if not rows:
        return
    for state, case in pairs.values():
        user, prompt = case.example.persona.user_id, case.example.prompt
        for response in (case.example.chosen, case.example.rejected):
            states.append(state)
            requests.append(RewardRequest(user, prompt, response))
    try:
        rewards = [result.reward for result in method.score(states, requests)]
        # Requests alternate: the chosen response of a case, then the rejected one.
        values[rows] = np.reshape(rewards, (-1, 2))
    except ScoreError as error:
        # The error names requests, and a case has two of them.
        bad = {rows[i // 2] for i in error.rows if i < len(requests)} or (set(rows) if len(rows) == 1 else set())
        failures.update(dict.fromkeys(bad, str(error)))
        rest = [row for row in rows if row not in bad]
        # This ends: a group without the named cases is smaller, and a single case is always counted as failed.
        for group in [rest] if bad else [[row] for row in rest]:
            _score(method, {row: pairs[row] for row in group}, values, failures)


class Evaluation:
    """The figures of one run, collected under their names; rewards are kept, so that figures can be paired.

    run = Evaluation(batch=16, seed=0, console=make_console())  # of persona_rm.io.terminal
    run.accuracy("pba_golden", pba, cases)
    run.flip("pba_golden_flip", "pba_golden", pba)
    run.accuracy("pba_vote", pba_vote, cases)
    run.gap("gap_golden_minus_vote", "pba_golden", "pba_vote")
    run.write(path)
    """

    def __init__(self, batch: int = 16, seed: int = 0, resamples: int = 2000, console: Console | None = None) -> None:
        self.batch, self.seed, self.resamples, self.console = batch, seed, resamples, console
        self.rewards: dict[str, Rewards] = {}
        self.figures: dict[str, Figure] = {}

    def run(self, name: str, method: CaseScorer, cases: Sequence[Case]) -> Rewards:
        """The rewards of `method` on `cases`, kept under `name`."""
        self.rewards[name] = evaluate(method, cases, self.batch, label=name, console=self.console)
        return self.rewards[name]

    def accuracy(self, name: str, method: CaseScorer, cases: Sequence[Case]) -> Figure:
        """Alignment accuracy: share of pairs with r(chosen) > r(rejected), ties half."""
        return self._accuracy(name, self.run(name, method, cases))

    def given(self, name: str, cases: Sequence[Case], values: np.ndarray) -> Figure:
        """Accuracy of rewards (n, 2) that need no method, such as those of `longer_wins` or true utilities."""
        self.rewards[name] = Rewards(tuple(cases), np.asarray(values, np.float64))
        return self._accuracy(name, self.rewards[name])

    def bayes(self, cases: Sequence[Case], name: str = "bayes_optimal") -> list[Figure]:
        """Accuracy of the true utilities on these cases, and its expectation in theory, the mean of max(p, 1 - p)."""
        if any(case.utilities is None or case.p_choice is None for case in cases):
            raise DataError(
                "the Bayes-optimal scorer needs true utilities and choice probabilities: the simulator has them"
            )
        # The best scorer always names the likelier side, and is right with the larger of the two probabilities.
        best = np.array([max(case.p_choice or 0.0, 1 - (case.p_choice or 0.0)) for case in cases])
        expected = self._keep(self._mean(f"{name}_expected", best, [case.unit for case in cases]))
        return [self.given(name, cases, np.array([case.utilities for case in cases])), expected]

    def flip(
        self, name: str, base: str, method: CaseScorer, reverse: Callable[[Case], Case] = reversed_directions
    ) -> Figure:
        """Flip success (paper, Table 5): share of the pairs of `base` whose order turns under the reversed persona."""
        before = self._rewards(base)
        return self.flip_of(name, base, self.run(name, method, [reverse(case) for case in before.cases]))

    def flip_of(self, name: str, base: str, after: Rewards) -> Figure:
        """Flip success from given rewards under the other persona (P-SOUPS: the histories swapped)."""
        before = self._rewards(base)
        # A case counts if it was scored under both personas; the others are reported as failed.
        ok = before.ok & after.ok
        turned = flips(before.margins[ok], after.margins[ok])
        return self._keep(self._mean(name, turned, before.units[ok], int((~ok).sum())))

    def history(
        self, name: str, method: CaseScorer, cases: Sequence[Case], sizes: Sequence[int] = SIZES
    ) -> list[Figure]:
        """Accuracy by history size, as `{name}_h{size}` (paper, Figure 3)."""
        return [self.accuracy(f"{name}_h{n}", method, [truncate_history(case, n) for case in cases]) for n in sizes]

    def gap(self, name: str, a: str, b: str) -> Figure:
        """Accuracy of `a` minus accuracy of `b`, paired: the same cases and the same resampled users."""
        one, two = self._rewards(a), self._rewards(b)
        if [case.example.id for case in one.cases] != [case.example.id for case in two.cases]:
            raise DataError(f"{a!r} and {b!r} were not run on the same cases, so they cannot be paired")
        ok = one.ok & two.ok
        difference = accuracy(*one.values[ok].T) - accuracy(*two.values[ok].T)
        return self._keep(self._mean(name, difference, one.units[ok], int((~ok).sum())))

    def by_group(self, name: str) -> list[Figure]:
        """The accuracy of `name` within each group label, as `{name}.{group}`."""
        rewards, out = self._rewards(name), []
        labels = np.array([case.group_label for case in rewards.cases], dtype=object)
        for label in sorted(set(labels.tolist())):
            rows = np.flatnonzero(labels == label)
            out.append(self._accuracy(f"{name}.{label}", subset(rewards, rows)))
        return out

    def add(self, figures: Sequence[Figure]) -> None:
        """Keep figures that were computed elsewhere (`direction_figures`)."""
        for figure in figures:
            self._keep(figure)

    def write(self, path: Path) -> None:
        """Write all figures as the JSON list of `persona-rm eval --json`."""
        write_figures(path, list(self.figures.values()))

    def _rewards(self, name: str) -> Rewards:
        if name not in self.rewards:
            raise DataError(f"no rewards under {name!r}; there is: {', '.join(self.rewards) or 'nothing yet'}")
        return self.rewards[name]

    def _accuracy(self, name: str, rewards: Rewards) -> Figure:
        ok = rewards.ok
        right = accuracy(rewards.values[ok, 0], rewards.values[ok, 1])
        return self._keep(self._mean(name, right, rewards.units[ok], int((~ok).sum())))

    def _mean(self, name: str, values: Floats, units: Any, failed: int = 0) -> Figure:
        return mean_figure(name, values, units, seed=self.seed, resamples=self.resamples, failed=failed)

    def _keep(self, figure: Figure) -> Figure:
        self.figures[figure.name] = figure
        return figure


def subset(rewards: Rewards, rows: np.ndarray) -> Rewards:
    """The rewards of some cases."""
    old = [int(row) for row in rows]
    failures = {new: rewards.failures[row] for new, row in enumerate(old) if row in rewards.failures}
    return Rewards(tuple(rewards.cases[row] for row in old), rewards.values[old], failures)


def write_figures(path: Path, figures: Sequence[Figure]) -> None:
    """A JSON list of figures."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([figure.to_dict() for figure in figures], indent=1) + "\n", encoding="utf-8")


def read_figures(path: Path) -> list[Figure]:
    """The inverse of `write_figures`. Raises `DataError` by file and row."""
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read figures: {error}", file=path) from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError("figures are a JSON list of objects", file=path)
    return [_figure(row, path, i) for i, row in enumerate(rows, 1)]


def _figure(row: dict[str, object], path: Path, i: int) -> Figure:
    try:
        return Figure.from_dict(row)
    except DataError as error:
        raise DataError(error.problem, file=path, row=i, key=error.key) from error
