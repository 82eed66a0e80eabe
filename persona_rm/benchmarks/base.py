"""The contract of a benchmark: cases, each a person's evidence and a pair of answers whose preferred side is known."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

from persona_rm.config import Config
from persona_rm.space import PreferenceSpace
from persona_rm.types import Example, Persona, RewardRequest, RewardResult, UserState


@dataclass(frozen=True, slots=True)
class Case:
    """One pair to be ordered for one person.

    `example.persona` carries the evidence; its `directions` are the golden ones where the truth is known, else None.
    `p_choice` is the true probability that this person prefers `chosen`; `utilities` the true (chosen, rejected) pair.
    `cluster` is the unit that the bootstrap draws (default: the user): cases of one unit are not independent.
    """

    example: Example
    group_label: str = ""
    p_choice: float | None = None
    utilities: tuple[float, float] | None = None
    cluster: str = ""

    @property
    def unit(self) -> str:
        """The bootstrap unit of this case."""
        return self.cluster or self.example.persona.user_id

    def with_persona(self, persona: Persona) -> "Case":
        """The same pair of the same bootstrap unit, seen with other evidence."""
        return replace(self, example=replace(self.example, persona=persona), cluster=self.unit)


class CaseScorer(Protocol):
    """What a benchmark needs of a reward method: `methods.base.Method` is one."""

    def adapt(self, evidence: Persona, state: UserState | None = None) -> UserState: ...

    def score(self, states: Sequence[UserState], requests: Sequence[RewardRequest]) -> list[RewardResult]: ...


class PriorScorer(CaseScorer, Protocol):
    """A scorer that has a state for an unknown user."""

    def prior(self) -> UserState: ...


class Benchmark(ABC):
    """A set of cases. Constructors store; files are opened by `cases`."""

    name: ClassVar[str]
    Config: ClassVar[type[Config]] = Config

    def __init__(self, config: Any, space: PreferenceSpace) -> None:
        self.config, self.space = config, space

    @abstractmethod
    def cases(self) -> list[Case]:
        """Every case, in a fixed order. Raises `DataError` by file, row and key: no row is left out."""


def spread(cases: Sequence[Case], limit: int | None) -> list[Case]:
    """At most `limit` cases, evenly spread over the list: files are often sorted by group."""
    n = len(cases)
    kept = min(limit or n, n)
    return [cases[k * n // kept] for k in range(kept)]
