"""How evidence becomes a state, shared by methods: behavioural items (ICA) or preference directions (PBA)."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.prompts.prompts import Chat
from persona_rm.space import PreferenceSpace
from persona_rm.types import Directions, Pair, Persona, Ugc, UserState


class PromptConfig(Config):
    """How a person enters the prompt. `persona` "none" is the no-persona control: everyone gets the plain prompt."""

    prompts: str = "released"
    """A packaged format or the path of a YAML file."""
    chat: Chat | None = None
    """Overrides the format's own chat wrapping."""
    persona: Literal["own", "none"] = "own"


class ItemsConfig(PromptConfig):
    """Which items enter the prompt: up to `n_ugc` and `n_pairs` (AlignX trains on 0 to 4 of each), and the DEMO.

    The paper samples them; here `keep` takes the first, or the last (the most recent, items being in order of time).
    """

    n_ugc: int = Field(4, ge=0)
    n_pairs: int = Field(4, ge=0)
    demo: bool = True
    keep: Literal["first", "last"] = "first"


def next_version(method: str, persona: Persona, state: UserState | None) -> int:
    """The version after `state`. Raises `DataError` for a state of another method or person."""
    if state is None:
        return 1
    if state.method != method or state.user_id not in (None, persona.user_id):
        found = f"a state of method {state.method!r}, user {state.user_id!r}"
        raise DataError(f"{method} cannot add user {persona.user_id!r}'s evidence to {found}")
    return state.version + 1


def items_state(method: str, persona: Persona, state: UserState | None, config: ItemsConfig) -> UserState:
    """The items that will stand in the prompt: those of `state`, then the persona's, cut to the configured numbers."""
    version = next_version(method, persona, state)
    if config.persona == "none":
        return UserState(method, persona.user_id, {}, 0, version)
    old = dict(state.payload) if state else {}
    ugc = [*old.get("ugc", []), *({"prompt": u.prompt, "comment": u.comment} for u in persona.ugc)]
    new = ({"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in persona.pairs)
    payload: dict[str, Any] = {
        "ugc": _keep(ugc, config.n_ugc, config.keep),
        "pairs": _keep([*old.get("pairs", []), *new], config.n_pairs, config.keep),
        "demo": (persona.demo or old.get("demo", "")) if config.demo else "",
    }
    n_items = len(payload["ugc"]) + len(payload["pairs"]) + bool(payload["demo"])
    return UserState(method, persona.user_id, payload, n_items, version)


def items_of(state: UserState) -> Persona:
    """The persona that `items_state` kept; the prior's is empty. Raises `DataError` for a payload that is not its."""
    payload = state.payload
    try:
        ugc = tuple(Ugc(**item) for item in payload.get("ugc", ()))
        pairs = tuple(Pair(**item) for item in payload.get("pairs", ()))
    except TypeError as error:
        raise DataError(
            f"the state of user {state.user_id!r} does not hold {state.method}'s items: {error}"
        ) from error
    return Persona(state.user_id or "", ugc, pairs, payload.get("demo", ""))


def directions_state(
    method: str, persona: Persona, state: UserState | None, space: PreferenceSpace, *, nobody: bool = False
) -> UserState:
    """The persona's directions; they replace those of `state`, because an inferrer has read all the evidence.

    `n_items` is 0, a cold state, when every direction is neutral. Raises `DataError` where there are no directions.
    """
    version = next_version(method, persona, state)
    if nobody:
        return UserState(method, persona.user_id, neutral_payload(space), 0, version)
    if persona.directions is None:
        raise DataError(f"{method}: user {persona.user_id!r} has no directions; run an inferrer first (vote, golden)")
    payload = {"directions": list(persona.directions)}
    directions = directions_of(UserState(method, persona.user_id, payload), space)
    n_items = max(1, persona.n_items) if any(directions) else 0
    return UserState(method, persona.user_id, payload, n_items, version)


def neutral_payload(space: PreferenceSpace) -> dict[str, list[int]]:
    """What the prior of a method on directions holds."""
    return {"directions": list(space.neutral)}


def directions_of(state: UserState, space: PreferenceSpace) -> Directions:
    """The directions in a state. Raises `DataError` where they are missing or do not fit the space."""
    found = state.payload.get("directions")
    if not isinstance(found, list) or len(found) != len(space) or not {-1, 0, 1}.issuperset(found):
        what = f"{len(found)} values" if isinstance(found, list) else repr(found)
        raise DataError(
            f"user {state.user_id!r}: space {space.name} needs {len(space)} directions of -1, 0 or 1, found {what}"
        )
    return tuple(found)


def _keep(items: list[Mapping[str, str]], n: int, keep: str) -> list[Mapping[str, str]]:
    return items[:n] if keep == "first" else items[len(items) - min(n, len(items)) :]
