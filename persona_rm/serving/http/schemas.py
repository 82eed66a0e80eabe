"""The bodies of calls and answers."""

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue

from persona_rm.types import Status

VERSION = 1


def _sound(text: str) -> str:
    """JSON can spell half of a surrogate pair, which is no character and breaks whoever writes it."""
    if not is_sound(text):
        raise ValueError("half of a surrogate pair is no character")
    return text


def is_sound(text: str) -> bool:
    """True for text that UTF-8 can write."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


Text = Annotated[str, AfterValidator(_sound)]
_HOST: dict[str, JsonValue] = {"query": ["Hello? Yes.</s>"], "prompts": ["Hello?"], "labels": [{"user": "u17"}]}
_ASK: dict[str, JsonValue] = {"user": "u17", "prompt": "Hello?", "responses": ["Yes.", "Who is it?"]}
_ONE: dict[str, JsonValue] = {
    "reward": 0.31,
    "dims": {"tea": 0.31},
    "status": "ok",
    "user_known": True,
    "group": "all",
    "logs": {"persona_rm/cold": 0.0},
}


class RewardsIn(BaseModel):
    """What OpenRLHF posts: three lists of one length, empty ones too. Other keys are ignored."""

    model_config = ConfigDict(json_schema_extra={"examples": [_HOST]})
    query: list[Text]
    """Prompt and answer as they were decoded, special tokens kept."""
    prompts: list[Text]
    labels: list[Any]
    """Who each sample is for: a user id, or an object with `user` and perhaps the bare `prompt`."""


class RewardsOut(BaseModel):
    """One number per row in every list. `scores` are the rewards through a sigmoid."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"rewards": [0.31], "scores": [0.577], "extra_logs": {"persona_rm/cold": [0.0]}}]
        }
    )
    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, list[float]]


class ScoreIn(BaseModel):
    """Responses to one prompt, for one person."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [_ASK]})
    version: Annotated[int, Field(ge=VERSION, le=VERSION)] = VERSION
    user: Text | None = None
    """An id, and nothing but an id. None: for nobody in particular."""
    prompt: Text
    responses: list[Text]
    group: Text | None = None
    """A name for this set of responses; comes back as it is. Where the bundle compares the samples of a prompt, it
    compares those of one name only: two rollouts of one prompt at once have two names."""


class ScoredItem(BaseModel):
    """One response's reward and where it comes from."""

    reward: float
    dims: dict[str, float]
    """Parts of the reward by dimension, where the method can tell."""
    status: Status
    user_known: bool
    group: str
    """The person's group."""
    logs: dict[str, float]


class ScoreOut(BaseModel):
    """One result per response, in their order."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": VERSION, "group": None, "results": [_ONE]}]})
    version: int = VERSION
    group: str | None = None
    results: list[ScoredItem]


class Problem(BaseModel):
    """No reward: `error` for people, `kind` for programs."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"error": "row 0: the prompt is too long", "kind": "unscorable"}]}
    )
    error: str
    kind: str


class State(BaseModel):
    """Of the probes."""

    status: str
    reason: str = ""
