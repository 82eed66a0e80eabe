"""Shared by the parts of the evaluation on real text: texts read once, rewards of directions, other users."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from persona_rm.annotators.base import Annotator
from persona_rm.backends.base import Backends, LevelReader
from persona_rm.benchmarks.base import Case
from persona_rm.benchmarks.controls import derangement
from persona_rm.benchmarks.evaluation import Evaluation
from persona_rm.benchmarks.figures import Figure, accuracy, bootstrap_ratio, mean_figure
from persona_rm.benchmarks.study_config import RealConfig
from persona_rm.pipeline.members import space_of
from persona_rm.pipeline.run import RunFolder
from persona_rm.pipeline.stages.annotate_evidence import annotated_cases
from persona_rm.pipeline.studies.study import Ints, StudyResults, dot
from persona_rm.types import MIDDLE, Levels

Floats = npt.NDArray[np.float64]
Directed = Floats | Ints
"""A row of directions per case, (cases, D)."""
FigureKind = Literal["best", "main", "control"]


class CachedReader:
    """A reader that reads every text once and answers later calls from memory."""

    def __init__(self, reader: LevelReader) -> None:
        self.reader = reader
        self.known: dict[tuple[str, str], Levels] = {}

    def levels(self, prompts: Sequence[str], texts: Sequence[str]) -> list[Levels]:
        """The levels of texts; those that are new go to the reader in one call."""
        asked = list(zip(prompts, texts, strict=True))
        if new := [one for one in dict.fromkeys(asked) if one not in self.known]:
            levels = self.reader.levels([prompt for prompt, _ in new], [text for _, text in new])
            self.known.update(zip(new, levels, strict=True))
        return [self.known[one] for one in asked]


@dataclass(frozen=True)
class Material:
    """The cases of a data set after reading: items carry directions; levels of both texts minus 2, each (cases, D)."""

    what: str
    """The name of the data set in the report."""
    key: str
    """The beginning of the names of its figures."""
    cases: list[Case]
    chosen: Floats
    rejected: Floats

    @property
    def units(self) -> list[str]:
        """The bootstrap unit of each case."""
        return [case.unit for case in self.cases]

    def rewards(self, directions: Directed) -> Floats:
        """(cases, 2): the reward of `pba_linear` for both texts.

        Directions need not be -1, 0 or 1: P(positive) - P(negative) gives the expected reward.
        """
        return np.stack([(directions * side).sum(1) for side in (self.chosen, self.rejected)], 1)

    def right(self, directions: Directed) -> Floats:
        """Per case 1 (right), 0.5 (a tie) or 0."""
        return accuracy(*self.rewards(directions).T)


class RealStudy:
    """One evaluation: figures in `sheet`, the rows of the report's table in `rows`."""

    def __init__(self, run: RunFolder, config: RealConfig, annotator: Annotator) -> None:
        self.run, self.config, self.annotator = run, config, annotator
        self.space, self.seed = space_of(run.recipe), run.recipe.seed
        self.sheet = Evaluation(seed=self.seed, resamples=config.resamples, console=run.console)
        self.once = CachedReader(annotator)
        self.rows: list[StudyResults] = []

    def read(self, what: str, key: str, cases: Sequence[Case]) -> Material:
        """The cases after the annotator read every text of theirs."""
        self.run.console.print(f"{what}: {len(cases):,} cases")
        chosen = self._read(cases, [case.example.chosen for case in cases])
        rejected = self._read(cases, [case.example.rejected for case in cases])
        return Material(what, key, annotated_cases(cases, Backends(reader=self.once)), chosen, rejected)

    def _read(self, cases: Sequence[Case], texts: Sequence[str]) -> Floats:
        levels = self.once.levels([case.example.prompt for case in cases], texts)
        return np.array(levels, np.float64) - MIDDLE

    def given(self, of: Material, name: str, values: Floats, label: str, kind: FigureKind = "main") -> Figure:
        """Accuracy of rewards (cases, 2)."""
        return self._show(of, self.sheet.given(f"{of.key}_{name}", of.cases, values), label, kind)

    def mean(self, of: Material, name: str, values: Floats, label: str, kind: FigureKind = "main") -> Figure:
        """The mean of a value per case."""
        figure = mean_figure(name, values, of.units, seed=self.seed, resamples=self.config.resamples)
        return self.keep(of, figure, label, kind)

    def share(
        self, of: Material, name: str, values: Floats, among: Floats, label: str, kind: FigureKind = "main"
    ) -> None:
        """The sum of `values` divided by the sum of `among`; no figure if that is 0."""
        if among.sum():
            ratio = bootstrap_ratio(values, among, of.units, self.seed, self.config.resamples)
            self.keep(of, Figure(name, *ratio, int(among.sum())), label, kind)

    def keep(self, of: Material, figure: Figure, label: str, kind: FigureKind = "main") -> Figure:
        """Keep a figure that was computed elsewhere, and its row."""
        self.sheet.add([figure])
        return self._show(of, figure, label, kind)

    def _show(self, of: Material, figure: Figure, label: str, kind: FigureKind) -> Figure:
        self.rows.append(dot(figure, what=of.what, name=label, kind=kind))
        return figure

    def against(
        self, of: Material, name: str, label: str, own: Directed, others: Sequence[Directed], how: str
    ) -> None:
        """The control: the mean accuracy of others' directions, and own minus that, paired by case."""
        accuracies = np.mean([of.right(one) for one in others], axis=0)
        self.mean(of, f"{of.key}_{name}_{how}", accuracies, f"{label}: {how}", "control")
        # Paired by case, so that the difficulty of a case cancels.
        gained = of.right(own) - accuracies
        self.mean(of, f"gap_{of.key}_{name}_minus_{how}", gained, f"{label}: own minus {how}")

    def silence(self, of: Material, name: str, directions: Directed, label: str) -> None:
        """The share of ties (equal rewards), and the accuracy among the other cases."""
        values = of.rewards(directions)
        spoken = np.asarray(values[:, 0] != values[:, 1], np.float64)
        self.mean(of, f"{of.key}_{name}_ties", 1 - spoken, f"{label}: share of ties")
        right = of.right(directions) * spoken
        self.share(of, f"{of.key}_{name}_decided", right, spoken, f"{label}: right where no tie")


def halves(n: int, least: int, seed: int) -> list[Ints]:
    """Two random halves of n users, or all of them at once if a half would have fewer than `least`."""
    order = np.random.default_rng(seed).permutation(n)
    return [np.sort(part) for part in np.array_split(order, 2 if n // 2 >= least else 1)]


def donors(folds: Sequence[Ints], k: int, seed: int) -> list[Ints]:
    """k derangements of users, each within its fold, so that no user gets the same other user twice.

    They are the powers of one random cycle. If the smallest fold has fewer than k other users, there are fewer
    derangements, and every other user is given once.
    """
    cycle, rng = np.empty(sum(map(len, folds)), np.int64), np.random.default_rng(seed)
    for fold in folds:
        cycle[fold] = fold[derangement(len(fold), rng)]
    out = [cycle]
    while len(out) < min(k, min(map(len, folds)) - 1):
        # In a fold of n users the powers 1 to n - 1 of a cycle leave no user in place and differ everywhere.
        out.append(cycle[out[-1]])
    return out


def users_of(cases: Sequence[Case]) -> tuple[Mapping[str, int], Ints]:
    """The number of each user, in order of their ids, and the user number of each case, (cases,)."""
    number = {user: i for i, user in enumerate(sorted({case.example.persona.user_id for case in cases}))}
    return number, np.array([number[case.example.persona.user_id] for case in cases])
