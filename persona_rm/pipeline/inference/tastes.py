"""Several tastes in one person: one vector against a small mixture, where people have two and where they have one."""

import numpy as np

from persona_rm.pipeline.inference.sessions import orders_of
from persona_rm.pipeline.inference.study import Found, Study, dot
from persona_rm.world.people import Kind

KINDS: tuple[Kind, ...] = ("plural", "independent")
ITEMS = 32
"""Of each person, half UGC and half PAIR."""
LEARNED_FROM = 300
"""People of the training side: every text of theirs is encoded."""


def tastes(study: Study) -> Found:
    """Accuracy of ordering held-out choices by the directions told for the choice's own prompt."""
    rows = []
    for kind in KINDS:
        here, half = study.elsewhere(kind), ITEMS // 2
        seen = (here.world.persona(person, "test", ITEMS - half, half) for person in here.people)
        personas = {persona.user_id: persona.with_directions(None) for persona in seen}
        for name, zoo in (("one vector", "posterior"), ("two tastes", "tastes")):
            inferrer = study.fit(kind, {"name": zoo}, LEARNED_FROM)
            told = [inferrer.infer(personas[choice.person.id], choice.post.text).directions for choice in here.choices]
            values = orders_of(np.array(told, np.int64), here.choices)
            figure = study.mean(f"tastes_{kind}_{name.replace(' ', '_')}", values, here.units)
            rows.append(dot(figure, world=kind, name=name))
    return {"tastes": rows}
