"""Evidence becomes a state, shared by methods: behavioural items (ICA) or preference directions (PBA)."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from persona_rm.config import Config, NameOrPath
from persona_rm.errors import DataError
from persona_rm.prompts.prompts import Chat
from persona_rm.space import PreferenceSpace
from persona_rm.types import Directions, Pair, Persona, Ugc, UserState


class PromptConfig(Config):
    """How the user enters the prompt. `persona` "none" is a control: the prompt is plain for all users."""

    prompts: NameOrPath = "released"
    """A packaged format or the path of a YAML file."""
    chat: Chat | None = None
    """Overrides the format's own chat wrapping."""
    persona: Literal["own", "none"] = "own"


class ItemsConfig(PromptConfig):
    """Which items enter the prompt: up to `n_ugc` and `n_pairs` (AlignX trains on 0 to 4 of each), and the DEMO.

    The paper samples the items. Here `keep` takes the first or the last ones; the last are the most recent, because
    items are in order of time.
    """

    n_ugc: int = Field(4, ge=0)
    n_pairs: int = Field(4, ge=0)
    demo: bool = True
    keep: Literal["first", "last"] = "first"


def half_of_each(n_items: int) -> dict[str, int]:
    """The settings of `ItemsConfig` that put up to `n_items` items into the prompt, half UGC and half PAIR."""
    return {"n_ugc": n_items // 2, "n_pairs": n_items - n_items // 2}


def next_version(method: str, persona: Persona, state: UserState | None) -> int:
    """The version after `state`. Raises `DataError` if `state` belongs to another method or user."""
    if state is None:
        return 1
    if state.method != method or state.user_id not in (None, persona.user_id):
        other = f"a state of method {state.method!r}, user {state.user_id!r}"
        raise DataError(f"{method} cannot add user {persona.user_id!r}'s evidence to {other}")
    return state.version + 1


def items_state(method: str, persona: Persona, state: UserState | None, config: ItemsConfig) -> UserState:
    """The items that will stand in the prompt: those of `state`, then those of `persona`, cut to the configured
    numbers."""
    version = next_version(method, persona, state)
    if config.persona == "none":
        return UserState(method, persona.user_id, {}, 0, version)
    old = dict(state.payload) if state else {}
    ugc = [*old.get("ugc", []), *({"prompt": u.prompt, "comment": u.comment} for u in persona.ugc)]
    # A prompt format says of every pair which response the user preferred, so ties have no place in it.
    preferred = (pair for pair in persona.pairs if not pair.tie)
    new = ({"prompt": p.prompt, "chosen": p.chosen, "rejected": p.rejected} for p in preferred)
    payload: dict[str, Any] = {
        "ugc": _keep(ugc, config.n_ugc, config.keep),
        "pairs": _keep([*old.get("pairs", []), *new], config.n_pairs, config.keep),
        # A new description takes the place of the old one.
        "demo": (persona.demo or old.get("demo", "")) if config.demo else "",
    }
    n_items = len(payload["ugc"]) + len(payload["pairs"]) + bool(payload["demo"])
    return UserState(method, persona.user_id, payload, n_items, version)


def items_of(state: UserState) -> Persona:
    """The evidence that `items_state` kept; the prior has none. Raises `DataError` if the payload is of another
    kind."""
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
    method: str, persona: Persona, state: UserState | None, space: PreferenceSpace, *, ignore: bool = False
) -> UserState:
    """The user's directions; they replace those of `state`, because an inferrer has read all the evidence.

    `n_items` is 0, a cold state, if every direction is neutral; with `ignore` it always is. Raises `DataError` if
    the evidence has no directions.
    """
    version = next_version(method, persona, state)
    if ignore:
        return UserState(method, persona.user_id, neutral_payload(space), 0, version)
    if persona.directions is None:
        raise DataError(f"{method}: user {persona.user_id!r} has no directions; run an inferrer first (vote, golden)")
    payload = {"directions": list(persona.directions)}
    directions = directions_of(UserState(method, persona.user_id, payload), space)
    # Directions may come without items. They are evidence, and 0 items would mark the state as cold.
    n_items = max(1, persona.n_items) if any(directions) else 0
    return UserState(method, persona.user_id, payload, n_items, version)


def neutral_payload(space: PreferenceSpace) -> dict[str, list[int]]:
    """The payload of a prior that has no direction on any dimension."""
    return {"directions": list(space.neutral)}


def directions_of(state: UserState, space: PreferenceSpace) -> Directions:
    """The directions in a state. Raises `DataError` if they are missing or do not fit the space."""
    given = state.payload.get("directions")
    if not isinstance(given, list) or len(given) != len(space) or not {-1, 0, 1}.issuperset(given):
        what = f"{len(given)} values" if isinstance(given, list) else repr(given)
        raise DataError(
            f"user {state.user_id!r}: space {space.name} needs {len(space)} directions of -1, 0 or 1, found {what}"
        )
    return tuple(given)


def _keep(items: list[Mapping[str, str]], n: int, keep: str) -> list[Mapping[str, str]]:
    # `items[-n:]` would give all items for n = 0.
    return items[:n] if keep == "first" else items[len(items) - min(n, len(items)) :]
