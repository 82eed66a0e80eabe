"""The bodies of calls and answers."""

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from persona_rm.errors import DataError
from persona_rm.io.text import is_sound
from persona_rm.io.user_ids import read_user_id
from persona_rm.types import Status

VERSION = 1


def _sound(text: str) -> str:
    """JSON can spell half of a surrogate pair, which is no character and cannot be written as UTF-8."""
    if not is_sound(text):
        raise ValueError("half of a surrogate pair is no character")
    return text


Text = Annotated[str, AfterValidator(_sound)]


def _user(value: object) -> str | None:
    try:
        return read_user_id(value)
    except DataError as error:
        raise ValueError(error.problem) from error


UserId = Annotated[Text | None, BeforeValidator(_user, json_schema_input_type=str | int | None)]
_CALL: dict[str, JsonValue] = {"user": "u17", "prompt": "Hello?", "responses": ["Yes.", "Who is it?"]}
_ONE: dict[str, JsonValue] = {
    "reward": 0.31,
    "parts": {"tea": 0.31},
    "status": "ok",
    "user_known": True,
    "group": "all",
    "logs": {"persona_rm/cold": 0.0},
}
_TRACE: dict[str, JsonValue] = {
    "request_id": "5f0c7a", "user": "u17", "user_known": True, "group": "all", "status": "ok", "state_version": 3,
    "raw": 0.62, "parts": {"tea": 0.62}, "std": 0.1, "inputs": {"n_items": 4},
    "steps": [{"name": "clip", "before": 0.62, "after": 0.31}], "evidence": ["91b3c0d2e4f5a687"],
}  # fmt: skip


class MessageIn(BaseModel):
    """One turn of a conversation."""

    model_config = ConfigDict(extra="forbid")
    role: Text
    """system, user or assistant."""
    content: Text


class ScoreIn(BaseModel):
    """Responses to one prompt, for one user."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_CALL]})
    version: Annotated[int, Field(ge=VERSION, le=VERSION)] = VERSION
    user: UserId = None
    """A user id, or a whole number, which is the same user as its digits. None: the population prior gives the
    rewards."""
    prompt: Text | list[MessageIn]
    """A text, or the turns of a conversation; the last one is the user's."""
    responses: list[Text]
    finished: list[bool] | None = None
    """For each response, whether it ended by itself; false: it was cut at a length limit. None: all ended."""
    group: Text | None = None
    """A name for this set of responses; it is returned as it is. If the bundle compares the samples of a prompt, it
    compares those of one name only: two rollouts of one prompt at the same time need two names."""
    trace: bool = False
    """Return the trace of each reward too: the method's reward, its parts, each post-processing step, the version of
    the user's state and the evidence behind it. The query `?trace=true` does the same."""


class StepOut(BaseModel):
    """One step of post-processing: the reward before it and after it."""

    name: str
    before: float
    after: float


class TraceOut(BaseModel):
    """How a reward came about. The parts sum to `raw`, and the steps lead from `raw` to the reward."""

    model_config = ConfigDict(json_schema_extra={"examples": [_TRACE]})
    request_id: str
    """The id of the line in the reward log."""
    user: str | None
    user_known: bool
    group: str
    """The user's group."""
    status: Status
    """"cold" or "erased" if the population prior answered, "abstained" if the method declined."""
    state_version: int
    """The version of the user's stored state; 0 if it was computed for this call."""
    raw: float
    """The method's reward, before post-processing."""
    parts: dict[str, float]
    """Parts of `raw` by dimension or feature, without those that are 0; empty if the method cannot split it."""
    std: float | None
    inputs: dict[str, int | float]
    """What post-processing read beside `raw`: n_items, and as needed prior, universal, safety, length, cut."""
    steps: list[StepOut]
    evidence: list[str]
    """Ids of the items of the user's history behind the state."""


class ScoredItem(BaseModel):
    """One response's reward and where it comes from."""

    reward: float
    parts: dict[str, float]
    """Parts of the method's reward by dimension or feature, if the method can split it."""
    status: Status
    user_known: bool
    group: str
    """The user's group."""
    logs: dict[str, float]
    trace: TraceOut | None = None
    """Only if the call asked for it."""


class ScoreOut(BaseModel):
    """One result per response, in their order."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": VERSION, "group": None, "results": [_ONE]}]})
    version: int = VERSION
    group: str | None = None
    results: list[ScoredItem]


class Problem(BaseModel):
    """There is no reward. `error` is a message for readers, `kind` is for programs."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"error": "row 0: prompt and response are too long", "kind": "unscorable"}]}
    )
    error: str
    kind: str
    request_id: str | None = None
    """The id under which the log has the cause, if a request failed."""


class State(BaseModel):
    """The answer of a probe."""

    status: str
    reason: str = ""
