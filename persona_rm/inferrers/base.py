"""The contract of an inferrer: a persona -> a posterior over preference directions, with the items behind it."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

from persona_rm.backends.base import Backends
from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.inferrers.calibration import Calibration
from persona_rm.inferrers.evidence import Item, items_of
from persona_rm.inferrers.model import Floats, Ints, PreferenceModel
from persona_rm.inferrers.stored_answers import Belief, Perception
from persona_rm.inferrers.tally import Tally
from persona_rm.space import PreferenceSpace
from persona_rm.types import Directions, Persona, UserState

CONFIG = "config.json"
NO_BACKENDS = Backends()


@dataclass(frozen=True, slots=True)
class Posterior:
    """P(negative), P(neutral), P(positive) per dimension, and the directions that the inferrer commits to."""

    probabilities: tuple[tuple[float, float, float], ...]
    directions: Directions
    evidence: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    """Dimension -> ids of the items that speak for its direction, strongest first; for directions that are not
    neutral, and only where the inferrer can tell."""
    n_items: int = 0
    """Distinct items that were read."""

    @property
    def cold(self) -> bool:
        """True if nothing was read: the prior speaks."""
        return self.n_items == 0

    def intervals(self, mass: float = 0.95) -> tuple[tuple[int, int], ...]:
        """Per dimension the shortest range of directions that holds `mass`; of two as short, the more probable."""
        return tuple(_shortest(p, mass) for p in self.probabilities)


class Inferrer(ABC):
    """What does the evidence say that this user prefers?"""

    name: ClassVar[str]
    Config: ClassVar[type[Config]] = Config
    by_prompt: ClassVar[bool] = False
    """True if directions depend on the prompt that the user is about to ask."""

    def __init__(self, config: Any, space: PreferenceSpace, backends: Backends = NO_BACKENDS) -> None:
        self.config, self.space, self.backends = config, space, backends

    @property
    def learns(self) -> bool:
        """True if `fit` learns something."""
        # A member that learns overrides `fit`, so it need not say so a second time.
        return type(self).fit is not Inferrer.fit

    def stateful(self) -> "StatefulInferrer[Any] | None":
        """This inferrer, if it keeps a state per user that later evidence updates; else None."""
        return None

    def modelled(self) -> "ModelInferrer | None":
        """This inferrer, if it has a population model by which questions can be chosen; else None."""
        return None

    def fit(self, personas: Sequence[Persona]) -> None:  # noqa: B027 - optional: the paper's vote learns nothing
        """Learn the population part from many users' evidence. Their `directions`, if given, are labels."""

    def infer(self, persona: Persona, prompt: str = "") -> Posterior:
        """The posterior from the persona's items. Raises `DataError` naming user and item if one has no directions.

        `prompt` is what the user is about to ask; only inferrers that are `by_prompt` read it.
        """
        return self.read(self.items(persona), persona, prompt)

    def infer_many(self, personas: Iterable[Persona]) -> list[Posterior]:
        """`infer` for each."""
        return [self.infer(persona) for persona in personas]

    def items(self, persona: Persona) -> list[Item]:
        """The persona's evidence as votes. An inferrer that annotates items itself overrides this."""
        return items_of(persona, len(self.space))

    @abstractmethod
    def read(self, items: Sequence[Item], persona: Persona, prompt: str) -> Posterior:
        """The posterior from evidence. Without any it is the population prior, and `cold`."""

    def save(self, folder: Path) -> None:
        """Write config.json (and, in inferrers that learn, safetensors) into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        about = {"inferrer": self.name, "space": self.space.name, "config": self.config.model_dump(mode="json")}
        (folder / CONFIG).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path, space: PreferenceSpace, backends: Backends = NO_BACKENDS) -> Self:
        """The inverse of `save`. Raises `DataError` for another inferrer's folder, or another space."""
        path = folder / CONFIG
        if not path.is_file():
            raise DataError(f"no saved inferrer {cls.name} here", file=path)
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            for key, own in (("inferrer", cls.name), ("space", space.name)):
                if saved[key] != own:
                    raise DataError(f"this was saved for {saved[key]!r}, not {own!r}", file=path, key=key)
            inferrer = cls(cls.Config(**saved["config"]), space, backends)
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"not the config of a saved inferrer {cls.name}: {error}", file=path) from error
        inferrer.load_learned(folder)
        return inferrer

    def load_learned(self, folder: Path) -> None:  # noqa: B027 - optional: the paper's vote learns nothing
        """Take what `fit` learned from a folder of `save`, and not the config.

        `load` calls this, and so does an inferrer that has another one inside. Raises `DataError` if it is not there.
        """


class Evidence(Protocol):
    """What a `StatefulInferrer` keeps of one user. It is a set of items and answers, so that each can be forgotten."""

    def add(self, items: Iterable[Item]) -> int:
        """Count these items; returns how many were new."""
        ...

    def hear(self, question_id: str, difference: Sequence[int], grade: int) -> None:
        """Keep the answer to a question (`ask.Question`); the last one counts."""
        ...

    def forget(self, ids: Sequence[str]) -> None:
        """Remove these items and answers as if they had never been. Raises `DataError` for an unknown id."""
        ...

    def joined(self, before: Self) -> Self:
        """This evidence with what earlier evidence of the same user knew beside it."""
        ...

    def to_payload(self) -> dict[str, Any]:
        """All of it as plain JSON, without texts."""
        ...

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the items and of the answered questions, the newest items last."""
        ...

    def __len__(self) -> int: ...


EvidenceT = TypeVar("EvidenceT", bound=Evidence)


class StatefulInferrer(Inferrer, Generic[EvidenceT]):
    """An inferrer that keeps one state per user: it is updated item by item, stored, resumed, and can forget."""

    def stateful(self) -> "StatefulInferrer[EvidenceT]":
        """This inferrer."""
        return self

    @abstractmethod
    def empty(self) -> EvidenceT:
        """The evidence of a user of whom nothing is known."""

    @abstractmethod
    def of(self, evidence: EvidenceT, *, explain: bool = False) -> Posterior:
        """The posterior of evidence; with `explain` also the items behind each direction."""

    @abstractmethod
    def of_many(self, evidence: Sequence[EvidenceT]) -> list[Posterior]:
        """`of` for each, in one computation where possible; without the items behind each direction."""

    @abstractmethod
    def resume(self, state: UserState) -> EvidenceT:
        """The evidence in a state. Raises `DataError` for another inferrer's state, an older layout, another space."""

    def tally(self, persona: Persona) -> EvidenceT:
        """The persona's items, counted."""
        evidence = self.empty()
        evidence.add(self.items(persona))
        return evidence

    def read(self, items: Sequence[Item], persona: Persona, prompt: str) -> Posterior:
        """The posterior of these items."""
        evidence = self.empty()
        evidence.add(items)
        return self.of(evidence, explain=True)

    def infer_many(self, personas: Iterable[Persona]) -> list[Posterior]:
        """`infer` for each, in one computation; without the items behind each direction."""
        return self.of_many([self.tally(persona) for persona in personas])

    def state(self, user_id: str, evidence: EvidenceT, version: int = 1) -> UserState:
        """The evidence as a state, for a store."""
        return UserState(self.name, user_id, evidence.to_payload(), len(evidence), version)


class ModelInferrer(StatefulInferrer[Tally]):
    """A stateful inferrer with a population model of evidence and answers, by which questions can be chosen."""

    model: PreferenceModel
    calibration: Calibration
    fitted: dict[str, Any]
    """What `fit` saw and chose, for the report."""

    def modelled(self) -> "ModelInferrer":
        """This inferrer."""
        return self

    @property
    @abstractmethod
    def perception(self) -> Perception:
        """How answers to questions are understood."""

    @abstractmethod
    def belief(self, tally: Tally) -> Belief:
        """What is known by latent class, after the items and the answers."""

    @abstractmethod
    def decide(self, probabilities: Floats) -> Ints:
        """Directions (..., D) from P(direction) (..., D, 3)."""


def _shortest(p: tuple[float, float, float], mass: float) -> tuple[int, int]:
    ranges = [(low, high) for low in (-1, 0, 1) for high in range(low, 2)]
    held = {(low, high): sum(p[low + 1 : high + 2]) for low, high in ranges}
    # The tolerance is for sums that miss the mass by rounding only.
    enough = [one for one in ranges if held[one] >= mass - 1e-12] or [(-1, 1)]
    return min(enough, key=lambda one: (one[1] - one[0], -held[one]))
