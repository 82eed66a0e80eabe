"""The records that travel through the library: frozen, plain, with a JSON round trip.

Conventions. A *direction* is -1 (negative), 0 (neutral) or 1 (positive), one per dimension of the preference space
(AlignX files write 0 / 0.5 / 1). A *level* is the intensity of a text on a dimension: 1 low, 2 cannot reflect, 3 high.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

Directions = tuple[int, ...]
Levels = tuple[int, ...]
Probabilities = tuple[tuple[float, float, float], ...]
"""P(negative), P(neutral), P(positive), one triple per dimension."""
UserStatus = Literal["ok", "cold", "erased"]
Status = Literal["ok", "cold", "erased", "abstained"]
STORED = ("method", "user_id", "payload", "n_items", "version")
"""The fields of a `UserState` that are written to a profile store. The others are derived when it is read."""
LOGGED = (
    "request_id", "user", "user_known", "group", "status", "state_version", "raw", "parts", "std", "inputs", "steps",
    "evidence",
)  # fmt: skip
"""The fields of a `RewardTrace` in its row, in their order."""
MIDDLE = 2
"""The level of a text that says nothing about a dimension."""


def content_id(*parts: str) -> str:
    """A stable 16-digit id of some texts: the same texts give the same id on every machine."""
    # The separator keeps parts apart whose concatenations are equal.
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
    """Intensities, if the source knows them, as the simulator does; None on real data."""


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
    """A row that was dropped, and why. `what`: post, response, pair or example. Reasons are few and are counted."""

    what: str
    id: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ugc:
    """User-generated content: what a user wrote under a post (AlignX P_UGC)."""

    prompt: str
    comment: str
    directions: Directions | None = None
    created: str | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """Pair-wise comparative feedback: the response that a user chose, and the rejected one (AlignX P_PAIR)."""

    prompt: str
    chosen: str
    rejected: str
    directions: Directions | None = None
    created: str | None = None
    strength: float | None = None
    """How much better `chosen` is, 0 or more, in the units of the data; 0 is a tie. None if the data do not say."""

    @property
    def tie(self) -> bool:
        """True if the user found both responses equally good, so that their order says nothing."""
        return self.strength == 0

    @property
    def is_decided(self) -> bool:
        """True if the comparison says what the user prefers: it is no tie, and the responses differ."""
        return not self.tie and self.chosen != self.rejected


@dataclass(frozen=True, slots=True)
class Persona:
    """The evidence about one user. `directions` are the user's preference directions, if known or inferred."""

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
        """The number of behavioural items."""
        return len(self.ugc) + len(self.pairs)

    @property
    def n_ties(self) -> int:
        """The number of comparisons that do not say what the user prefers. They are items, and no evidence."""
        return sum(not pair.is_decided for pair in self.pairs)

    def first(self, n_ugc: int, n_pairs: int) -> "Persona":
        """The same user with only the first `n_ugc` and `n_pairs` items as evidence."""
        return replace(self, ugc=self.ugc[:n_ugc], pairs=self.pairs[:n_pairs])

    def with_directions(self, directions: Directions | None) -> "Persona":
        """The same evidence with other directions."""
        return replace(self, directions=directions)


@dataclass(frozen=True, slots=True)
class Comparison:
    """One user preferred `chosen` to `rejected` under `prompt`. `group` is the post, for splits without leakage."""

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
    """The directions of the pair; empty if the file gives none (P-SOUPS)."""
    persona: Persona
    source: str = ""
    group: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Columns of the file for which this library has no field; they are kept and written back."""

    def comparison(self) -> Comparison:
        """The example as a comparison by its user."""
        return Comparison(self.persona.user_id, self.prompt, self.chosen, self.rejected, self.group or self.id)


@dataclass(frozen=True, slots=True)
class UserState:
    """What a method or an inferrer knows about one user: versioned, serialisable, deletable. `payload` is plain JSON.

    An inferrer's state as a bundle hands it out holds `directions` and `probabilities`; a method's state holds what
    the method needs for scoring. `evidence`, `status` and `known` are never stored: a bundle derives them at each
    look-up.
    """

    method: str
    user_id: str | None
    payload: Mapping[str, Any] = field(default_factory=dict)
    n_items: int = 0
    version: int = 1
    """It grows with every update of a stored state; 0 is a state that was computed for a request and not stored."""
    evidence: tuple[str, ...] = ()
    """Ids of the items behind the state, if the method or inferrer can name them. They are never texts."""
    status: UserStatus = "ok"
    """"cold" if no evidence was read, and "erased" if the user asked to be forgotten."""
    known: bool = True
    """False for an unknown and for an erased user: the population prior answers for them."""

    @property
    def cold(self) -> bool:
        """True for the population prior: nothing is known about this user."""
        return self.user_id is None or self.n_items == 0

    @property
    def directions(self) -> Directions | None:
        """The preference directions in the payload; None for a state that holds none."""
        directions = self.payload.get("directions")
        return None if directions is None else tuple(directions)

    @property
    def probabilities(self) -> Probabilities:
        """The probabilities of the directions in the payload; empty if no inferrer computed them."""
        return tuple(self.payload.get("probabilities", ()))

    def to_json(self) -> str:
        """One line of JSON with the fields `STORED`."""
        return json.dumps({name: getattr(self, name) for name in STORED}, ensure_ascii=False, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "UserState":
        """The inverse of `to_json`."""
        return cls(**json.loads(text))


class Message(NamedTuple):
    """One turn of a conversation. `role`: system, user or assistant."""

    role: str
    content: str


Messages = tuple[Message, ...]
Prompt = str | Messages
"""A prompt as text, or as the turns of a conversation (`persona_rm.prompts.chat_messages`)."""


def text_of(prompt: Prompt) -> str:
    """The prompt as one text, for models and annotators that read no conversations.

    A single user turn is its content. Of several turns each begins with its role, and an empty line separates them. A
    system text is left out, as in users files: a prompt format writes it where the policy's system text stands.
    """
    if isinstance(prompt, str):
        return prompt
    spoken = [message for message in prompt if message.role != "system"]
    if len(spoken) == 1:
        return spoken[0].content
    return "\n\n".join(f"{message.role.capitalize()}: {message.content}" for message in spoken)


@dataclass(frozen=True, slots=True)
class RewardRequest:
    """One response of a policy to one prompt, to be rewarded for one user."""

    user: str | None
    """None for a sample that names no user: the population prior rewards it."""
    prompt: Prompt
    """The bare prompt of the data set, text or messages, without the user's part that the policy read with it."""
    response: str
    finished: bool = True
    """False if the response was cut at a length limit instead of ending by itself."""
    request_id: str = ""
    group: str | None = None
    """Samples of one user, prompt and group are rewarded together, if the bundle has groups."""
    bad_label: bool = False
    """True if the host sent a label that names no user although it was not empty."""

    @property
    def prompt_text(self) -> str:
        """The prompt as one text (`text_of`)."""
        return text_of(self.prompt)


@dataclass(frozen=True, slots=True)
class RewardStep:
    """One step of reward post-processing: the reward before it and after it."""

    name: str
    before: float
    after: float


@dataclass(frozen=True, slots=True)
class RewardTrace:
    """How a reward came about, in enough detail to explain why this user got this reward.

    `raw` is the method's reward and `parts` are its summands by dimension or feature (empty if the method cannot
    split it). Each step of `steps` starts from the value after the step before it; the first one starts from `raw`
    and the last one ends at the reward that was given. A method fills `raw`, `parts`, `status` and `std`; the bundle
    adds the user, post-processing adds its steps.
    """

    raw: float
    parts: Mapping[str, float] = field(default_factory=dict)
    steps: tuple[RewardStep, ...] = ()
    status: Status = "ok"
    """"cold" or "erased" if the population prior answered for this user, "abstained" if the method declined and the
    prior answered instead."""
    request_id: str = ""
    user: str | None = None
    user_known: bool = False
    group: str = ""
    """The group of the user in the bundle, whose mean reward is logged; not the group of the request's samples."""
    state_version: int = 0
    """The version of the stored user state; 0 if the state was computed for this request."""
    evidence: tuple[str, ...] = ()
    """Ids of the items behind the user state; at most as many as a bundle names (`bundle.user_states.NAMED`)."""
    std: float | None = None
    """The method's standard deviation of `raw`, on the same scale, if it gives one."""
    inputs: Mapping[str, float] = field(default_factory=dict)
    """What post-processing read beside `raw` and `std`: `n_items` (the number of items of evidence behind the user
    state) and, if an option needs them, `prior` (the method's reward of the response for an unknown user),
    `universal`, `safety`, `length`, and `cut` (1 for a response that was cut at a length limit)."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Finite numbers for the host's logs; the same keys for every sample of a bundle. They are not in `to_row`."""

    def to_row(self) -> dict[str, Any]:
        """The trace as plain JSON, without `metrics` and without parts of 0: the log line, the HTTP API and
        `persona-rm explain --json` show this."""
        row: dict[str, Any] = {name: getattr(self, name) for name in LOGGED}
        row |= {"parts": {name: value for name, value in self.parts.items() if value}, "inputs": dict(self.inputs)}
        row["steps"] = [{"name": step.name, "before": step.before, "after": step.after} for step in self.steps]
        row["evidence"] = list(self.evidence)
        return row

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "RewardTrace":
        """The inverse of `to_row`; other keys of the row are ignored. Raises `KeyError` or `TypeError` for another
        layout."""
        values = {name: row[name] for name in LOGGED}
        values |= {"steps": tuple(RewardStep(**step) for step in row["steps"]), "evidence": tuple(row["evidence"])}
        return cls(**values)


@dataclass(frozen=True, slots=True)
class RewardResult:
    """The reward of one `RewardRequest`, with its trace. A failure raises `ScoreError` instead."""

    reward: float
    trace: RewardTrace

    @property
    def status(self) -> Status:
        """The status of the trace."""
        return self.trace.status
