"""Accuracy of directions and probabilities: the paper's Table 12, calibration, dimensions, the annotator's errors."""

import numpy as np
import numpy.typing as npt

from persona_rm.benchmarks.figures import Figure, direction_figures
from persona_rm.inferrers.base import Posterior
from persona_rm.inferrers.calibration import Calibration, expected_calibration_error, reliability
from persona_rm.pipeline.studies.study import Study, StudyResults, cell

ECE_RESAMPLES = 200
"""Fewer than for other figures, because each resample computes the whole error again."""


def table(study: Study) -> StudyResults:
    """Precision and recall of each direction (Table 12), and the population that the inferrer learned from."""
    golden = [tuple(row) for row in study.golden.tolist()]
    rows = []
    for inferrer in (study.vote, study.posterior):
        name, said = inferrer.name, [one.directions for one in study.inferred(inferrer, study.config.items)]
        resamples = study.config.resamples
        figures, _ = direction_figures(name, said, golden, study.units, seed=study.seed, resamples=resamples)
        study.sheet.add(figures)
        by = {figure.name: figure for figure in figures}
        for label in ("positive", "negative", "neutral"):
            both = {kind: cell(by.get(f"{name}_{label}_{kind}")) for kind in ("precision", "recall")}
            rows.append({"inferrer": name, "class": label, **both})
    about = {"users": len(set(study.units)), "items": study.config.items, "population": study.simulator.config.kind}
    return {"table": rows, "about": {**about, "fit": study.posterior.fitted}}


def calibration(study: Study) -> StudyResults:
    """Expected calibration error and reliability of vote shares, and of the posterior before and after calibration."""
    inferrers = {"vote": (study.vote, "vote_ece"), "posterior, after": (study.posterior, "posterior_ece")}
    rows = []
    for name, (inferrer, figure) in inferrers.items():
        rows.append(_reliability(study, name, figure, study.inferred(inferrer, study.config.items)))
    # Not through `study.inferred`: its memory goes by name and config, and would answer with the calibrated ones.
    # Other parts of the study use this inferrer too, so its calibration is put back even after an error.
    fitted, study.posterior.calibration = study.posterior.calibration, Calibration()
    try:
        raw = study.posterior.infer_many(study.personas(study.config.items))
    finally:
        study.posterior.calibration = fitted
    rows.insert(1, _reliability(study, "posterior, before", "posterior_ece_before", raw))
    return {"calibration": rows}


def _reliability(study: Study, name: str, figure: str, told: list[Posterior]) -> StudyResults:
    p = np.array([one.probabilities for one in told])
    return {"inferrer": name, "ece": _ece(study, figure, p).value, "bins": reliability(p, study.golden)}


def _ece(study: Study, name: str, p: npt.NDArray[np.float64]) -> Figure:
    """The error over all users, with an interval that resamples users."""
    labels, index = np.unique(np.array(study.units), return_inverse=True)
    rows = [np.flatnonzero(index == unit) for unit in range(len(labels))]
    rng, draws = np.random.default_rng(study.seed), []
    for _ in range(ECE_RESAMPLES):
        drawn = np.concatenate([rows[unit] for unit in rng.integers(len(labels), size=len(labels))])
        # The error is no mean over users, so it is computed anew for each resample.
        draws.append(expected_calibration_error(p[drawn], study.golden[drawn]))
    value = expected_calibration_error(p, study.golden)
    # A resample repeats users, which adds noise and so error: `value` itself may lie below the percentiles.
    low, high = np.percentile(draws, [2.5, 97.5])
    figure = Figure(name, value, float(min(low, value)), float(high), len(study.cases))
    study.sheet.add([figure])
    return figure


def dimensions(study: Study) -> StudyResults:
    """Precision and recall of directions that are not neutral, for every dimension on which a user has a direction."""
    rows = []
    claims = [row[1][0] + row[1][2] for row in study.simulator.confusions]
    for inferrer in (study.vote, study.posterior):
        said = np.array([one.directions for one in study.inferred(inferrer, study.config.items)])
        right = ((said == study.golden) & (said != 0)).sum(0)
        for dim in np.flatnonzero((study.golden != 0).any(0)).tolist():
            spoken, held = int((said[:, dim] != 0).sum()), int((study.golden[:, dim] != 0).sum())
            rows.append({
                "dimension": study.space.dimensions[dim].name, "inferrer": inferrer.name,
                "held": held / len(study.cases), "error_rate": claims[dim],
                "precision": float(right[dim] / spoken) if spoken else None, "recall": float(right[dim] / held),
            })  # fmt: skip
    return {"dimensions": rows}


def error_rates(study: Study) -> StudyResults:
    """The rate at which the annotator claims what a text does not say: the truth, and the estimate of EM.

    It is taken on the dimensions that no text of the simulator is about, where every claim is an error.
    """
    model = study.posterior.model
    source = model.sources.index("ugc")
    spoken = set(study.simulator.language.active)
    rows = []
    for dim, dimension in enumerate(study.space.dimensions):
        if dim not in spoken:
            negative, _, positive = study.simulator.confusions[dim][1]
            estimated = float(1 - model.tables[source, dim, 1, 1])
            rows.append({
                "dimension": dimension.name, "source": "ugc", "true": negative + positive, "estimated": estimated,
            })  # fmt: skip
    return {"errors": rows}


def by_items(study: Study) -> StudyResults:
    """Accuracy of ordering held-out choices by the directions alone, by the number of items."""
    rows = []
    for inferrer in (study.vote, study.posterior):
        for n in study.config.history:
            values = study.ordered([one.directions for one in study.inferred(inferrer, n)])
            figure = study.mean(f"linear_{inferrer.name}_h{n}", values)
            rows.append({"inferrer": inferrer.name, "n": n, "accuracy": cell(figure)})
    study.mean("linear_golden", study.ordered(study.golden))
    return {"by_items": rows}
