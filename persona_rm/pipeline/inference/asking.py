"""What the population tells: latent classes against one class at few items, and questions against observed items."""

from collections.abc import Sequence

from persona_rm.benchmarks.metrics import Figure
from persona_rm.pipeline.inference.sessions import ask_people, observed, orders, reached
from persona_rm.pipeline.inference.study import OBSERVED, Found, Study, cell, dot
from persona_rm.pipeline.train import examples_of
from persona_rm.world.people import Kind

FEW = 4
"""Items at which the prior still matters."""


def priors(study: Study) -> Found:
    """Do correlations between dimensions help? One class against as many as the data ask for."""
    rows = []
    for kind in study.config.asked:
        here = study.elsewhere(kind)
        for name, settings in (("one class", {"classes": [1]}), ("latent classes", {})):
            inferrer = study.fit_posterior(kind, **settings)
            values = orders(observed(here.world, here.people, inferrer, FEW), here.choices, here.people)
            figure = study.mean(f"prior_{kind}_{name.replace(' ', '_')}", values, here.units)
            rows.append(dot(figure, world=kind, name=name))
    return {"prior": rows}


def asking(study: Study) -> Found:
    """Accuracy by number of questions, chosen and random, against what observed items give the same people."""
    asked, seen = [], []
    config, examples = study.config, examples_of(study.run)
    for kind in config.asked:
        here, inferrer = study.elsewhere(kind), study.fit_posterior(kind)
        world, people, choices = here.world, here.people, here.choices
        by_watching = orders(observed(world, people, inferrer, OBSERVED), choices, people)
        goal = study.mean(f"observed_{OBSERVED}_{kind}", by_watching, here.units)
        seen.append({"world": kind, "items": OBSERVED, "accuracy": cell(goal)})
        console = study.run.console
        for session in ask_people(world, people, inferrer, examples, config.questions, config.bank, console):
            figures = [study.interval("", orders(one, choices, people), here.units) for one in session.directions]
            rows = [{"questions": n, "accuracy": cell(figure)} for n, figure in enumerate(figures)]
            asked += [{"world": kind, "how": session.how, **row} for row in rows]
            _needed(study, kind, session.how, [figure.value for figure in figures], goal)
    return {"asking": asked, "observed": seen}


def _needed(study: Study, kind: Kind, how: str, accuracies: Sequence[float], goal: Figure) -> None:
    """The figure `questions_to_match_16` (others than the first world carry its name); none where they were too
    few."""
    name = f"questions_to_match_{OBSERVED}" + ("_random" if how == "random" else "")
    name += "" if kind == study.config.asked[0] else f"_{kind}"
    if (found := reached(accuracies, goal.value)) is not None:
        study.sheet.add([Figure(name, found, found, found, goal.n)])
    else:
        said = (
            f"{name}: {max(accuracies):.3f} after at most {len(accuracies) - 1}, observed items give {goal.value:.3f}"
        )
        study.run.console.print(f"[yellow]{said}[/]")
