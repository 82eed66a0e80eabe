"""Several tastes in one person: one vector against a small mixture, where people have two and where they have one; and
people who change: old items that fade against items that all count alike."""

import numpy as np

from persona_rm.pipeline.studies.sessions import orders, orders_of
from persona_rm.pipeline.studies.study import Study, StudyResults, dot
from persona_rm.simulator.simulated_users import PopulationKind

KINDS: tuple[PopulationKind, ...] = ("plural", "independent")
ITEMS = 32
"""Of each person, half UGC and half PAIR."""
HALF_LIFE = 90
"""Days: an item that is so much older than the newest counts half."""


def tastes(study: Study) -> StudyResults:
    """Accuracy of ordering held-out choices by the directions told for the choice's own prompt."""
    rows = []
    for kind in KINDS:
        here, half = study.elsewhere(kind), ITEMS // 2
        seen = (here.world.persona(person, "test", ITEMS - half, half) for person in here.people)
        personas = {persona.user_id: persona.with_directions(None) for persona in seen}
        for name, zoo in (("one vector", "posterior"), ("two tastes", "tastes")):
            inferrer = study.fit(kind, {"name": zoo})
            told = [inferrer.infer(personas[choice.user.id], choice.post.text).directions for choice in here.choices]
            values = orders_of(np.array(told, np.int64), here.choices)
            figure = study.mean(f"tastes_{kind}_{name.replace(' ', '_')}", values, here.units)
            rows.append(dot(figure, population=kind, name=name))
    return {"tastes": [*rows, *_drift(study)]}


def _drift(study: Study) -> list[StudyResults]:
    """The same where people change with time: all items alike, against old ones that fade."""
    rows, half = [], ITEMS // 2
    here = study.elsewhere("drift")
    seen = (here.world.persona(person, "test", ITEMS - half, half) for person in here.people)
    personas = [persona.with_directions(None) for persona in seen]
    for name, days in (("all items alike", None), (f"half as much every {HALF_LIFE} days", HALF_LIFE)):
        inferrer = study.fit_posterior("drift", half_life=days)
        told = np.array([one.directions for one in inferrer.infer_many(personas)], np.int64)
        values = orders(told, here.choices, here.people)
        figure = study.mean(f"drift_{'faded' if days else 'alike'}", values, here.units)
        rows.append(dot(figure, population="drift", name=name))
    return rows
