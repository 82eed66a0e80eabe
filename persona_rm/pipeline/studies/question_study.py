"""The population prior with latent classes and with one class at few items; questions against observed items."""

from collections.abc import Sequence

from persona_rm.benchmarks.figures import Figure
from persona_rm.pipeline.stages.train import examples_of
from persona_rm.pipeline.studies.sessions import ask_users, first, observed, orders
from persona_rm.pipeline.studies.study import OBSERVED, Study, StudyResults, cell, dot
from persona_rm.simulator.simulated_users import PopulationKind

FEW = 4
"""A number of items at which the prior still matters."""
MARGIN = 0.01
"""The largest loss of accuracy, with 95 % confidence, at which questions count as matching observed items."""


def priors(study: Study) -> StudyResults:
    """The benefit of correlations between dimensions: one class against as many as the data support."""
    rows = []
    for kind in study.config.populations:
        here = study.other_population(kind)
        for name, settings in (("one class", {"classes": [1]}), ("latent classes", {})):
            inferrer = study.fit_posterior(kind, **settings)
            values = orders(observed(here.simulator, here.users, inferrer, FEW), here.choices, here.users)
            figure = study.mean(f"prior_{kind}_{name.replace(' ', '_')}", values, here.units)
            rows.append(dot(figure, population=kind, name=name))
    return {"prior": rows}


def asking(study: Study) -> StudyResults:
    """Accuracy by number of questions, chosen and random, against what observed items give the same users."""
    asked, seen = [], []
    config, examples = study.config, examples_of(study.run)
    for kind in config.populations:
        here, inferrer = study.other_population(kind), study.fit_posterior(kind)
        simulator, users, choices = here.simulator, here.users, here.choices
        by_watching = orders(observed(simulator, users, inferrer, OBSERVED), choices, users)
        goal = study.mean(f"observed_{OBSERVED}_{kind}", by_watching, here.units)
        seen.append({"population": kind, "items": OBSERVED, "accuracy": cell(goal)})
        console = study.run.console
        for session in ask_users(simulator, users, inferrer, examples, config.questions, config.bank, console):
            each = [orders(one, choices, users) for one in session.directions]
            figures = [study.interval("", values, here.units) for values in each]
            rows = [{"questions": n, "accuracy": cell(figure)} for n, figure in enumerate(figures)]
            asked += [{"population": kind, "how": session.how, **row} for row in rows]
            lost = [study.interval("", by_watching - values, here.units) for values in each]
            _needed(study, kind, session.how, lost, goal)
    return {"asking": asked, "observed": seen}


def _needed(study: Study, kind: PopulationKind, how: str, lost: Sequence[Figure], goal: Figure) -> None:
    """The number of questions until nothing is lost against observed items: `lost` by number of questions, paired.

    `questions_to_match_16`: the 95 % interval of the loss lies below `MARGIN` (non-inferiority). The stricter
    `questions_to_reach_16`: the accuracy itself is as high. Populations other than the first carry their name. There
    is no figure if the questions were too few.
    """
    name = ("_random" if how == "random" else "") + ("" if kind == study.config.populations[0] else f"_{kind}")
    needed = {"match": first([one.high < MARGIN for one in lost]), "reach": first([one.value <= 0 for one in lost])}
    for word, n in needed.items():
        if n is not None:
            study.sheet.add([Figure(f"questions_to_{word}_{OBSERVED}{name}", n, n, n, goal.n)])
    if needed["match"] is None:
        last = f"{lost[-1].value:.3f} short after {len(lost) - 1} questions"
        study.run.console.print(f"{kind}, {how}: {last}; observed items give {goal.value:.3f}", style="yellow")
