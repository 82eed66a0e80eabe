"""The contract of a benchmark: cases, each a user's evidence and a pair of responses, one of which is preferred."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Protocol

from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comparison, Example, Persona, RewardRequest, RewardResult, UserState


@dataclass(frozen=True, slots=True)
class Case:
    """One pair to be ordered for one user.

    `example.persona` carries the evidence; its `directions` are the golden ones if the truth is known, else None.
    `p_choice` is the true probability that this user prefers `chosen`, and `utilities` the true (chosen, rejected)
    pair. `cluster` is the unit that the bootstrap draws (default: the user), because cases of one unit are not
    independent.
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
        """The same pair in the same bootstrap unit, with other evidence."""
        # The unit is kept by name, because the new persona may have another user id.
        return replace(self, example=replace(self.example, persona=persona), cluster=self.unit)


class CaseScorer(Protocol):
    """The part of a reward method that a benchmark calls; `methods.base.Method` has it."""

    def adapt(self, evidence: Persona, state: UserState | None = None) -> UserState: ...

    def score(self, states: Sequence[UserState], requests: Sequence[RewardRequest]) -> list[RewardResult]: ...


class PriorScorer(CaseScorer, Protocol):
    """A scorer that has a state for an unknown user."""

    def prior(self) -> UserState: ...


class Benchmark(ABC):
    """A set of cases. The constructor only stores its arguments; `cases` opens the files."""

    name: ClassVar[str]
    Config: ClassVar[type[Config]] = Config

    def __init__(self, config: Any, space: PreferenceSpace) -> None:
        self.config, self.space = config, space

    @abstractmethod
    def cases(self) -> list[Case]:
        """Every case, in a fixed order. No row is left out: a bad one raises `DataError` with file, row and key."""

    def comparisons(self) -> list[Comparison]:
        """Every comparison with a preference, for `persona-rm bench`, in a fixed order.

        `Comparison.group` names the texts that a split keeps together: a prompt, a topic, a debate. Ties and equal
        responses are left out. The default raises `DataError`: this benchmark has cases only.
        """
        raise DataError(f"benchmark {self.name} has single cases, and no comparisons of users to split")


def spread(cases: Sequence[Case], limit: int | None) -> list[Case]:
    """At most `limit` cases, spread evenly over the list, because files are often sorted by group."""
    n = len(cases)
    kept = min(limit or n, n)
    return [cases[k * n // kept] for k in range(kept)]
