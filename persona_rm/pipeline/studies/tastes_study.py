"""Several tastes in one user, and users who change.

One vector against a small mixture, for users with two tastes and for users with one; old items that fade against
items that all count alike.
"""

import numpy as np

from persona_rm.pipeline.studies.sessions import orders, orders_of
from persona_rm.pipeline.studies.study import Study, StudyResults, dot
from persona_rm.simulator.simulated_users import PopulationKind

KINDS: tuple[PopulationKind, ...] = ("plural", "independent")
ITEMS = 32
"""Of each user, half UGC and half PAIR."""
HALF_LIFE = 90
"""Days: an item that is this much older than the newest one counts half."""


def tastes(study: Study) -> StudyResults:
    """Accuracy of ordering held-out choices by the directions inferred for the choice's own prompt."""
    rows = []
    for kind in KINDS:
        here, half = study.other_population(kind), ITEMS // 2
        seen = (here.simulator.persona(user, "test", ITEMS - half, half) for user in here.users)
        personas = {persona.user_id: persona.with_directions(None) for persona in seen}
        for name, zoo in (("one vector", "posterior"), ("two tastes", "tastes")):
            inferrer = study.fit(kind, {"name": zoo})
            told = [inferrer.infer(personas[choice.user.id], choice.post.text).directions for choice in here.choices]
            values = orders_of(np.array(told, np.int64), here.choices)
            figure = study.mean(f"tastes_{kind}_{name.replace(' ', '_')}", values, here.units)
            rows.append(dot(figure, population=kind, name=name))
    return {"tastes": [*rows, *_drift(study)]}


def _drift(study: Study) -> list[StudyResults]:
    """Accuracy for users who change with time: all items alike, against old ones that fade."""
    rows, half = [], ITEMS // 2
    here = study.other_population("drift")
    seen = (here.simulator.persona(user, "test", ITEMS - half, half) for user in here.users)
    personas = [persona.with_directions(None) for persona in seen]
    for name, days in (("all items alike", None), (f"half as much every {HALF_LIFE} days", HALF_LIFE)):
        inferrer = study.fit_posterior("drift", half_life=days)
        told = np.array([one.directions for one in inferrer.infer_many(personas)], np.int64)
        values = orders(told, here.choices, here.users)
        figure = study.mean(f"drift_{'faded' if days else 'alike'}", values, here.units)
        rows.append(dot(figure, population="drift", name=name))
    return rows
