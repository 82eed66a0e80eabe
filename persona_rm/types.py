"""The records that travel through the library: frozen, plain, with a JSON round trip.

Conventions. A *direction* is -1 (negative), 0 (neutral) or 1 (positive), one per dimension of the preference space
(AlignX files write 0 / 0.5 / 1). A *level* is the intensity of a text on a dimension: 1 low, 2 cannot reflect, 3 high.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

Directions = tuple[int, ...]
Levels = tuple[int, ...]
Status = Literal["ok", "cold", "abstained"]


def content_id(*parts: str) -> str:
    """A stable 16-digit id of some texts: the same texts give the same id on every machine."""
    return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Comment:
    """One response to a post."""

    id: str
    text: str
    author: str | None = None
    score: int | None = None
    created: str | None = None
    levels: Levels | None = None
    """Intensities, where the source knows them (the embedded world does); None on real data."""


@dataclass(frozen=True, slots=True)
class Thread:
    """A post and its responses: what construction starts from."""

    id: str
    source: str
    prompt: str
    comments: tuple[Comment, ...]
    author: str | None = None
    created: str | None = None


@dataclass(frozen=True, slots=True)
class Drop:
    """A row that did not go on, and why. `what`: post, response, pair or example. Reasons are few and are counted."""

    what: str
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ugc:
    """User-generated content: what a person wrote under a post (AlignX P_UGC)."""

    prompt: str
    comment: str
    directions: Directions | None = None
    created: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Pair-wise comparative feedback: what a person chose over what (AlignX P_PAIR)."""

    prompt: str
    chosen: str
    rejected: str
    directions: Directions | None = None
    created: str | None = None


@dataclass(frozen=True, slots=True)
class Persona:
    """The evidence about one person. `directions`, where known or inferred, is their preference direction."""

    user_id: str
    ugc: tuple[Ugc, ...] = ()
    pairs: tuple[Pair, ...] = ()
    demo: str = ""
    directions: Directions | None = None

    @property
    def items(self) -> tuple[Ugc | Pair, ...]:
        """UGC, then PAIR."""
        return (*self.ugc, *self.pairs)

    @property
    def n_items(self) -> int:
        """How many behavioural items there are."""
        return len(self.ugc) + len(self.pairs)

    def first(self, n_ugc: int, n_pairs: int) -> "Persona":
        """The same person seen through the first `n_ugc` and `n_pairs` items only."""
        return replace(self, ugc=self.ugc[:n_ugc], pairs=self.pairs[:n_pairs])

    def with_directions(self, directions: Directions | None) -> "Persona":
        """The same evidence with other directions."""
        return replace(self, directions=directions)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One person preferred `chosen` over `rejected` under `prompt`. `group` is the post, for splits without
    leakage."""

    user_id: str
    prompt: str
    chosen: str
    rejected: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Example:
    """AlignX's quintuple (persona, prompt, chosen, rejected, directions of the pair); paper, section 4."""

    id: str
    prompt: str
    chosen: str
    rejected: str
    directions: Directions
    """Of the pair; empty where the file gives none (P-SOUPS)."""
    persona: Persona
    source: str = ""
    group: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Columns of the file that this library has no field for; kept so that writing gives them back."""

    def comparison(self) -> Comparison:
        """The example as a preference of its person."""
        return Comparison(self.persona.user_id, self.prompt, self.chosen, self.rejected, self.group or self.id)


@dataclass(frozen=True, slots=True)
class UserState:
    """What a method knows about one person: versioned, serialisable, deletable. `payload` is plain JSON."""

    method: str
    user_id: str | None
    payload: Mapping[str, Any] = field(default_factory=dict)
    n_items: int = 0
    version: int = 1

    @property
    def cold(self) -> bool:
        """True for the prior: nothing is known about this person."""
        return self.user_id is None or self.n_items == 0

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self), ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "UserState":
        """The inverse of `to_json`."""
        return cls(**json.loads(text))


@dataclass(frozen=True, slots=True)
class ScoreRequest:
    """Score these responses to this prompt for this person."""

    state: UserState
    prompt: str
    responses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Score:
    """One reward per response of the request, in its order; `dims` splits each reward by dimension where a method can.

    `status` is "cold" when the prior spoke, "abstained" when the method declined to (then `rewards` are the prior's).
    A failure is never a Score: it raises `ScoreError`.
    """

    rewards: tuple[float, ...]
    status: Status = "ok"
    std: tuple[float, ...] | None = None
    dims: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
