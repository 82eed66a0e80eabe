"""P-SOUPS: directions inferred from a row's four pairs against those that the publishers inferred, and the accuracy of
both.

There are two personas and few history pairs, so a high accuracy may only mean that the two are told apart. Figures by
persona, with the histories of the two swapped, and the share of orders that turn then, are reported beside it. The
publishers' directions come from another annotator on the same pairs and are not the truth. The posterior has generic
error rates here, because 600 rows over 22 pairs are no population to learn from.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from persona_rm.benchmarks.base import Case
from persona_rm.benchmarks.controls import longer_wins
from persona_rm.benchmarks.figures import direction_figures, flips
from persona_rm.benchmarks.psoups import PSoups, PSoupsConfig
from persona_rm.errors import DataError
from persona_rm.pipeline.members import inferrer_of
from persona_rm.pipeline.studies.real_study import FigureKind, Material, RealStudy
from persona_rm.pipeline.studies.study import Ints

LABELS = {
    "given": "published directions",
    "vote": "vote, published thresholds",
    "posterior": "posterior, generic error rates",
}


def psoups(study: RealStudy) -> None:
    """Agreement with the published directions, then accuracy; intervals resample prompts."""
    if not study.config.psoups:
        return
    cases = PSoups(PSoupsConfig(path=Path(study.config.psoups)), study.space).cases()
    of = study.read("P-SOUPS", "real_psoups", cases)
    others = swapped(of.cases, study.config.derangements)
    study.given(of, "longer", longer_wins(of.cases), "the longer text", "control")
    told = _told(study, of)
    for name, directions in told.items():
        _accuracy(study, of, name, directions, others)
    given = told.pop("given")
    for name, directions in told.items():
        _classes(study, of, name, directions, given)
        _agreement(study, of, name, directions, given, others)


def swapped(cases: Sequence[Case], k: int) -> list[Ints]:
    """For each case, k rows of cases of the other persona, taken in turn from k evenly spaced starting points.

    Raises `DataError` unless there are two personas.
    """
    labels = np.array([case.group_label for case in cases])
    rows = [np.flatnonzero(labels == label) for label in sorted(set(labels.tolist()))]
    if len(rows) != 2:
        raise DataError(f"P-SOUPS: histories are swapped between two personas; this file has {len(rows)}")
    out = []
    for turn in range(k):
        donor = np.empty(len(cases), np.int64)
        for mine, theirs in (rows, rows[::-1]):
            # `roll` sets the starting point, and `resize` repeats the donors if the other persona has fewer cases.
            donor[mine] = np.resize(np.roll(theirs, -(turn * len(theirs) // k)), len(mine))
        out.append(donor)
    return out


def _told(study: RealStudy, of: Material) -> dict[str, Ints]:
    """Directions (cases, D) by their source."""
    personas = [case.example.persona for case in of.cases]
    directions = {"given": np.array([persona.directions for persona in personas], np.int64)}
    for name in ("vote", "posterior"):
        posteriors = inferrer_of({"name": name}, study.space).infer_many(personas)
        directions[name] = np.array([one.directions for one in posteriors], np.int64)
    return directions


def _accuracy(study: RealStudy, of: Material, name: str, directions: Ints, others: Sequence[Ints]) -> None:
    """Accuracy: of all, by persona, with the other persona's histories; the difference, and the share that turns."""
    key, label = f"{of.key}_{name}", LABELS[name]
    study.given(of, name, of.rewards(directions), label)
    for figure in study.sheet.by_group(key):
        study.keep(of, figure, f"{label}: {figure.name.removeprefix(f'{key}.')}")
    study.against(of, name, label, directions, [directions[donor] for donor in others], "swapped")
    margins = np.diff(of.rewards(directions))[:, 0]
    turned = [flips(margins, np.diff(of.rewards(directions[donor]))[:, 0]) for donor in others]
    study.mean(of, f"{key}_flip", np.mean(turned, axis=0), f"{label}: orders that turn when swapped")
    study.silence(of, name, directions, label)


def _classes(study: RealStudy, of: Material, name: str, said: Ints, given: Ints) -> None:
    """Precision and recall of each published direction, pooled over rows and dimensions."""
    key, resamples = f"{of.key}_{name}", study.config.resamples
    ours, theirs = ([tuple(row) for row in table.tolist()] for table in (said, given))
    figures, none = direction_figures(key, ours, theirs, of.units, seed=study.seed, resamples=resamples)
    for figure in figures:
        kind, measure = figure.name.removeprefix(f"{key}_").split("_")
        study.keep(of, figure, f"{LABELS[name]}: {measure} of published {kind}")
    if none:
        study.run.console.print(f"no value, as there is nothing to divide by: {', '.join(none)}")


def _agreement(study: RealStudy, of: Material, name: str, said: Ints, given: Ints, others: Sequence[Ints]) -> None:
    """The share of directions that are published too, and of rows with any such direction.

    Both are repeated with the published directions of the other persona: that agreement needs no reading of histories.
    """
    key, label = f"{of.key}_{name}", LABELS[name]
    spoken = np.asarray((said != 0).sum(1), np.float64)
    study.mean(of, f"{key}_spoken", spoken, f"{label}: directions a row")
    for suffix, tables in (("", [given]), ("_swapped", [given[donor] for donor in others])):
        same = [((said == table) & (said != 0)).sum(1) for table in tables]
        words = f"published{' for the other persona' if suffix else ''}"
        kind: FigureKind = "control" if suffix else "main"
        hits = np.mean(same, axis=0)
        study.share(of, f"{key}_agreed{suffix}", hits, spoken, f"{label}: directions {words}", kind)
        anywhere = np.mean([one > 0 for one in same], axis=0)
        study.mean(of, f"{key}_rows_agreed{suffix}", anywhere, f"{label}: rows with one {words}", kind)
