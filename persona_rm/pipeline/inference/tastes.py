"""Several tastes in one person: one vector against a small mixture, where people have two and where they have one."""

import numpy as np

from persona_rm.pipeline.inference.sessions import orders_of
from persona_rm.pipeline.inference.study import Found, Study, dot
from persona_rm.world.people import Kind

KINDS: tuple[Kind, ...] = ("plural", "independent")
ITEMS = 32


def tastes(study: Study) -> Found:
    """Accuracy of ordering held-out choices by the directions told for the choice's own prompt."""
    rows = []
    for kind in KINDS:
        world, people, choices = study.elsewhere(kind)
        people = people[: study.config.askers]
        ids = {person.id for person in people}
        asked = [choice for choice in choices if choice.person.id in ids]
        units = [choice.person.id for choice in asked]
        half = ITEMS // 2
        personas = {p.id: world.persona(p, "test", ITEMS - half, half).with_directions(None) for p in people}
        for name, zoo in (("one vector", "posterior"), ("two tastes", "tastes")):
            inferrer = study.fit(world, {"name": zoo})
            told = [inferrer.infer(personas[choice.person.id], choice.post.text).directions for choice in asked]
            values = orders_of(np.array(told, np.int64), asked)
            figure = study.mean(f"tastes_{kind}_{name.replace(' ', '_')}", values, units)
            rows.append(dot(figure, world=kind, name=name))
    return {"tastes": rows}
