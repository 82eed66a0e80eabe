"""The state of each user at this moment: from the profile store if it has the user, else the state that was fitted
with the bundle, else from users.jsonl.

The store has priority, because later evidence is written there. A state that cannot be read raises an error; the
prior never replaces it. An erased user is unknown, whatever users.jsonl says. A state is cached for `refresh` seconds
and then looked up again, also in a snapshot file that was rewritten. Updates, and erasures from the store alone, may
therefore take that long until a reader sees them. Erasures from the bundle (`tombstones`) are seen at once.
"""

import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence, Set
from functools import cached_property
from math import inf
from typing import Any

from persona_rm.bundle.state_cache import StateCache, UserPrompt
from persona_rm.errors import DataError, RecipeError
from persona_rm.inferrers.base import Evidence, Inferrer, Posterior, StatefulInferrer
from persona_rm.inferrers.evidence import bare_item, behind
from persona_rm.profiles import ProfileStore
from persona_rm.profiles.tombstones import Tombstones, sha256_of
from persona_rm.space import PreferenceSpace
from persona_rm.types import Directions, Persona, Probabilities, UserState, UserStatus
from persona_rm.users.users_file import User

"""(user id, prompt)."""
CHUNK = 1000
"""Maximum number of users in one computation."""
FITTED = "fitted"
"""The key of a state's payload that holds the payload of the method's fitted state."""
EVIDENCE = "evidence"
"""The key of a fitted state's payload that holds the ids of the items behind it."""
NAMED = 64
"""Maximum number of items that are named as the evidence of a state, the newest ones: every log line repeats them."""


class UserStates:
    """The users that a bundle knows, and what is known about each. It is not thread-safe.

    `store` holds states of the inferrer, and `fitted` states of the method, as `bundle.fit_bundle` writes them.

    The payload of a state holds `directions` (neutral for an unknown user; None if the users file gives none and the
    bundle has no inferrer) and `probabilities` (the population's for an unknown user, empty without an inferrer). Its
    version is that of the stored state, 0 without one.
    """

    def __init__(
        self,
        space: PreferenceSpace,
        users: MutableMapping[str, User],
        inferrer: Inferrer | None,
        store: ProfileStore | None = None,
        *,
        fitted: ProfileStore | None = None,
        refresh: float = 60,
        capacity: int = 4096,
        clock: Callable[[], float] = time.monotonic,
        tombstones: Tombstones | None = None,
        on_erased: Callable[[], None] = lambda: None,
    ) -> None:
        self.space, self.users, self.inferrer, self.store = space, users, inferrer, store
        self._stateful = inferrer.stateful() if inferrer is not None else None
        self.fitted = fitted
        # Without a store there is nothing to look up again.
        changes = store is not None or fitted is not None
        self.refresh, self.clock = refresh if changes else inf, clock
        self.computed = 0
        """The number of posteriors computed since the start."""
        self._cache: StateCache[tuple[float, UserState]] = StateCache(capacity)
        self.tombstones, self.on_erased = tombstones, on_erased
        self._dates: Mapping[str, str] = {}
        self._not_taken = set[str]()

    def __len__(self) -> int:
        return len(self._cache)

    def find(self, user_prompts: Sequence[UserPrompt]) -> list[UserState]:
        """The state for each (user, prompt), in one look-up and one computation.

        Raises `DataError` with the user and what to do if the state was not written by this inferrer, or if items
        cannot be read.
        """
        self.notice_erased()
        keys, now = [self.key(*user_prompt) for user_prompt in user_prompts], self.clock()
        current: dict[UserPrompt, tuple[float, UserState]] = {}
        for key in keys:
            cached = self._cache.get(key)
            if cached is not None and now - cached[0] < self.refresh:
                current[key] = cached
        if missing := [key for key in dict.fromkeys(keys) if key not in current]:
            current |= {key: (now, state) for key, state in self._fresh(missing).items()}
        for key, entry in current.items():
            self._cache.keep(key, entry)
        # Not from the cache: it may be smaller than this batch and have dropped some of these states already.
        return [current[key][1] for key in keys]

    def notice_erased(self) -> None:
        """Forget the users who were erased from the bundle since the last call: their evidence and cached states.

        Called at every look-up, so that an erasure by another process holds from the next request on. It costs the
        status of one file if no user was erased since, and a hash of every user otherwise.
        """
        dates = self.tombstones.dates() if self.tombstones is not None else {}
        # `dates` is the same mapping until the file changes.
        if dates is self._dates or not (new := dates.keys() - self._dates.keys()):
            self._dates = dates
            return
        self._dates = dates
        self._not_taken |= new
        for user in [user for user in self.users if sha256_of(user) in new]:
            del self.users[user]
        for key in [key for key in self._cache if key[0] is not None and sha256_of(key[0]) in new]:
            self._cache.drop(key)
        self.on_erased()

    def take_erased(self) -> Set[str]:
        """The hashes of the users who were erased since the last call of this method. Another thread may call it."""
        if not self._not_taken:
            return frozenset()
        taken, self._not_taken = self._not_taken, set()
        return taken

    def key(self, user: str | None, prompt: str) -> UserPrompt:
        """The key of a cached state. It holds the prompt only if the directions depend on the prompt."""
        return user, prompt if self.inferrer is not None and self.inferrer.by_prompt else ""

    def tally(self, user: str) -> tuple[Any, int]:
        """The user's evidence with its version, from the store as it is now; an erased user has none.

        Raises `DataError` as `find` does, and for a user whose directions were given: evidence does not change them.
        """
        self.notice_erased()
        states, _, dates = self._look([user])
        if user in states:
            return self._resume(states[user]), states[user].version
        if user in self.users and user not in dates:
            persona = self.users[user].persona
            if persona.directions is not None:
                problem = f"user {user!r} has directions in the bundle's users file, which evidence cannot change"
                raise DataError(f"{problem}: leave them null there to have them inferred")
            return self.stateful.tally(persona), 0
        return self.stateful.empty(), 0

    def state(self, user: str, tally: Evidence, version: int) -> UserState:
        """The state that follows from this tally. It is not cached."""
        return self._read({(user, ""): (tally, version)})[user, ""]

    def keep(self, state: UserState) -> None:
        """Cache this state as the current state of the user."""
        self._cache.keep((state.user_id, ""), (self.clock(), state))

    def drop(self, user: str) -> None:
        """Look this user up again at the next request."""
        self._cache.drop((user, ""))

    def evidence(self, state: UserState, prompt: str = "") -> dict[int, tuple[str, ...]]:
        """Dimension -> ids of the items that speak for the direction of `state` on it, the strongest first.

        The inferrer says which items they are. If it cannot tell, they are the items of the users file that vote for
        the direction.
        """
        user = state.user_id
        if user is None or not state.known or state.directions is None:
            return {}
        persona = self.users[user].persona if user in self.users else Persona(user)
        given = user in self.users and persona.directions is not None and not state.version
        by_inferrer: Mapping[int, tuple[str, ...]] = {}
        if not given and self._stateful is not None:
            by_inferrer = self._stateful.of(self.tally(user)[0], explain=True).evidence
        elif not given and self.inferrer is not None:
            by_inferrer = self.inferrer.infer(persona, prompt).evidence
        items = [(bare_item(item).id, item.directions) for item in persona.items if item.directions is not None]
        named: dict[int, tuple[str, ...]] = {}
        for dim, direction in enumerate(state.directions):
            if direction:
                votes = [(id_, directions[dim], 1.0) for id_, directions in items]
                named[dim] = by_inferrer.get(dim) or behind(votes, direction)
        return {dim: ids for dim, ids in named.items() if ids}

    @property
    def stateful(self) -> StatefulInferrer[Any]:
        """The inferrer that keeps states. Raises `RecipeError` if the bundle's inferrer keeps none."""
        if self._stateful is not None:
            return self._stateful
        name = repr(self.inferrer.name) if self.inferrer is not None else "none"
        raise RecipeError(f"evidence is kept by the inferrer 'posterior', this bundle has {name}: name 'posterior'")

    def _fresh(self, keys: Sequence[UserPrompt]) -> dict[UserPrompt, UserState]:
        """The states of these keys from the store, the users file and the inferrer, without the cache."""
        asked = list(dict.fromkeys(user for user, _ in keys if user is not None))
        stored, fitted, dates = self._look(asked)
        states: dict[UserPrompt, UserState] = {}
        counted: dict[UserPrompt, tuple[Evidence, int]] = {}
        for key in keys:
            user, prompt = key
            if user in stored:
                counted[key] = self._resume(stored[user]), stored[user].version
            elif user in fitted:
                states[key] = self._of_fitted(fitted[user])
            elif user is None or user in dates or user not in self.users:
                states[key] = self._unknown(user, "erased" if user in dates else "cold")
            # Tallies are collected here and computed together below.
            elif self.users[user].persona.directions is None and self._stateful is not None:
                counted[key] = self._stateful.tally(self.users[user].persona), 0
            else:
                states[key] = self._given(user, prompt)
        return states | self._read(counted)

    def _look(self, users: Sequence[str]) -> tuple[dict[str, UserState], dict[str, UserState], dict[str, str]]:
        """The stored states, the fitted ones, and the dates of erasure of the users that have no stored state.

        A user who was erased from the fitted states is erased, too, unless the profile store has a state. The state
        and the date of a user are read as of one moment (`ProfileStore.look`).
        """
        states, fitted = dict[str, UserState](), dict[str, UserState]()
        dates = dict[str, str]()
        if self.store is not None and users:
            self.store.refresh()
            states, dates = self.store.look(users)
        if self.fitted is not None and users:
            self.fitted.refresh()
            fitted, earlier = self.fitted.look([user for user in users if user not in states])
            dates = earlier | dates
        if self._dates:
            gone = {user: sha256_of(user) for user in users if user not in states}
            dates = {user: self._dates[sha256] for user, sha256 in gone.items() if sha256 in self._dates} | dates
        return states, {user: state for user, state in fitted.items() if user not in dates}, dates

    def _of_fitted(self, fitted: UserState) -> UserState:
        """The state of a user whose method state was fitted before; its payload carries that one."""
        user = str(fitted.user_id)
        known = self.users.get(user)
        payload = {key: value for key, value in fitted.payload.items() if key != EVIDENCE}
        directions = known.persona.directions if known else None
        certain = _certain(directions) if directions is not None else ()
        return UserState(
            fitted.method, user, {"directions": directions, "probabilities": certain, FITTED: payload},
            fitted.n_items, fitted.version, tuple(fitted.payload.get(EVIDENCE, ())),
            status="ok" if fitted.n_items else "cold",
        )  # fmt: skip

    def _resume(self, state: UserState) -> Any:
        """The evidence behind a stored state. Raises `DataError` if another inferrer wrote it or it cannot be read."""
        where, own = self.store.where if self.store is not None else None, self.stateful.name
        if state.method != own:
            problem = f"the state of user {state.user_id!r} was written by {state.method!r}, not {own!r}"
            raise DataError(f"{problem}: infer the user again, or name the store of this inferrer", file=where)
        try:
            return self.stateful.resume(state)
        except DataError as error:
            raise DataError(error.problem, file=where) from error

    def _state(
        self,
        user: str | None,
        directions: Directions | None,
        probabilities: Probabilities,
        *,
        n_items: int = 0,
        version: int = 0,
        evidence: Sequence[str] = (),
        status: UserStatus = "ok",
        known: bool = True,
    ) -> UserState:
        payload = {"directions": directions, "probabilities": probabilities}
        method = self.inferrer.name if self.inferrer is not None else ""
        return UserState(method, user, payload, n_items, version, tuple(evidence[-NAMED:]), status, known)

    def _unknown(self, user: str | None, status: UserStatus) -> UserState:
        """The population prior as the state of an unknown user."""
        return self._state(user, self.space.neutral, self._prior, status=status, known=False)

    def _given(self, user: str, prompt: str) -> UserState:
        """The state of a user of users.jsonl whose directions are given, or come from an inferrer without states."""
        persona = self.users[user].persona
        evidence = [bare_item(item).id for item in persona.items]
        if persona.directions is not None:
            certain = _certain(persona.directions)
            return self._state(user, persona.directions, certain, n_items=persona.n_items, evidence=evidence)
        if self.inferrer is None:
            status: UserStatus = "ok" if persona.n_items else "cold"
            return self._state(user, None, (), n_items=persona.n_items, evidence=evidence, status=status)
        self.computed += 1
        return self._inferred(user, self.inferrer.infer(persona, prompt), 0, evidence)

    def _inferred(self, user: str, posterior: Posterior, version: int, evidence: Sequence[str]) -> UserState:
        return self._state(
            user, posterior.directions, posterior.probabilities, n_items=posterior.n_items, version=version,
            evidence=evidence, status="cold" if posterior.cold else "ok",
        )  # fmt: skip

    def _read(self, counted: Mapping[UserPrompt, tuple[Evidence, int]]) -> dict[UserPrompt, UserState]:
        """The states that follow from evidence and its version, computed in chunks."""
        keys = list(counted)
        states: dict[UserPrompt, UserState] = {}
        for start in range(0, len(keys), CHUNK):
            part = keys[start : start + CHUNK]
            posteriors = self.stateful.of_many([counted[key][0] for key in part])
            for key, posterior in zip(part, posteriors, strict=True):
                evidence, version = counted[key]
                states[key] = self._inferred(str(key[0]), posterior, version, evidence.ids)
        self.computed += len(states)
        return states

    @cached_property
    def _prior(self) -> Probabilities:
        """The probabilities of the population prior. They are certainly neutral if the inferrer keeps no states,
        and empty without an inferrer."""
        if self._stateful is not None:
            return self._stateful.of(self._stateful.empty()).probabilities
        return _certain(self.space.neutral) if self.inferrer is not None else ()


def _certain(directions: Directions) -> Probabilities:
    """Probability 1 for each given direction."""
    return tuple((float(d == -1), float(d == 0), float(d == 1)) for d in directions)
