"""The directions that the persona already carries, taken as certain: the upper bound that inference works towards."""

from collections.abc import Sequence
from typing import ClassVar

from persona_rm.errors import DataError
from persona_rm.inferrers.base import Inferrer, Posterior
from persona_rm.inferrers.evidence import Item
from persona_rm.types import Persona


class Golden(Inferrer):
    """Known directions (paper, 6.5: PBA with golden directions); all probability on each of them."""

    name: ClassVar[str] = "golden"

    def items(self, persona: Persona) -> list[Item]:
        """None: the items are not looked at."""
        return []

    def read(self, items: Sequence[Item], persona: Persona, prompt: str) -> Posterior:
        """The persona's own directions. Raises `DataError` if it carries none, or as many as another space has."""
        if persona.directions is None:
            raise DataError(f"user {persona.user_id!r} carries no directions: use an inferrer that reads items (vote)")
        if len(persona.directions) != len(self.space):
            problem = f"{len(persona.directions)} directions, space {self.space.name} has {len(self.space)}"
            raise DataError(f"user {persona.user_id!r} carries {problem}")
        certain = tuple((float(d == -1), float(d == 0), float(d == 1)) for d in persona.directions)
        return Posterior(certain, persona.directions, n_items=max(1, persona.n_items))
