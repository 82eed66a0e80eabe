"""Directions for the evidence of benchmark cases that carries none yet, read by an annotator."""

from collections.abc import Sequence

from persona_rm.backends.base import Backends
from persona_rm.benchmarks.base import Case
from persona_rm.users.annotated_users import annotated


def annotated_cases(cases: Sequence[Case], backends: Backends) -> list[Case]:
    """The cases with directions on every item of their evidence."""
    personas = annotated([case.example.persona for case in cases], backends)
    return [case.with_persona(persona) for case, persona in zip(cases, personas, strict=True)]
