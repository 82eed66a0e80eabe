"""What is known about each person now: from the profile store where it has them, else from users.jsonl.

The store wins, because later evidence goes there; a state that cannot be read raises, and the prior never stands in
for it. Whoever was erased there is a stranger, whatever users.jsonl says. What was found is kept for `refresh`
seconds and then looked up again, in a snapshot that was written again too: so long may a reader lag behind the
writer, and an erasure too.
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import Literal

from persona_rm.errors import DataError, RecipeError
from persona_rm.inferrers.base import Inferrer, Posterior
from persona_rm.inferrers.posterior import PosteriorInferrer, join
from persona_rm.inferrers.tally import Tally
from persona_rm.profiles import ProfileStore
from persona_rm.space import PreferenceSpace
from persona_rm.types import Directions, UserState
from persona_rm.users.users_file import User

UserPrompt = tuple[str | None, str]
"""(user id, the prompt that the person is about to ask)."""
Knowledge = Literal["ok", "cold", "erased"]
Probabilities = tuple[tuple[float, float, float], ...]
CHUNK = 1000
"""People in one computation."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a person prefers, as far as anybody knows. `version` is the stored state's, 0 without one."""

    user: str | None
    directions: Directions | None
    """Neutral for a stranger; None where nobody gave the person's directions and the bundle has no inferrer."""
    probabilities: Probabilities
    """P(negative), P(neutral), P(positive) by dimension; the population's for a stranger, () without an inferrer."""
    version: int
    status: Knowledge
    """"cold": no evidence was read."""
    user_known: bool
    n_items: int = 0
    """Items of evidence behind it."""


class UserStates:
    """Everybody whom a bundle knows. One thread at a time."""

    def __init__(
        self,
        space: PreferenceSpace,
        users: Mapping[str, User],
        inferrer: Inferrer | None,
        store: ProfileStore | None = None,
        *,
        refresh: float = 60,
        capacity: int = 4096,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.space, self.users, self.inferrer, self.store = space, users, inferrer, store
        self.refresh, self.capacity, self.clock = refresh if store is not None else inf, capacity, clock
        self.computed = 0
        """Posteriors computed since the start."""
        self._seen: OrderedDict[UserPrompt, tuple[float, Known]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def find(self, asked: Sequence[UserPrompt]) -> list[Known]:
        """What is known about each, in one look-up and one computation. Raises `DataError` naming user and remedy for
        a state that this inferrer did not write, and for items that cannot be read."""
        keys, now = [self.key(*one) for one in asked], self.clock()
        found = {key: self._seen[key] for key in keys if key in self._seen}
        found = {key: (when, known) for key, (when, known) in found.items() if now - when < self.refresh}
        if missing := [key for key in dict.fromkeys(keys) if key not in found]:
            found |= {key: (now, known) for key, known in self._fresh(missing).items()}
        self._remember(found)
        return [found[key][1] for key in keys]

    def key(self, user: str | None, prompt: str) -> UserPrompt:
        """What is found is kept by this: by the prompt too only where directions depend on it."""
        return user, prompt if self.inferrer is not None and self.inferrer.by_prompt else ""

    def tally(self, user: str) -> tuple[Tally, int]:
        """The person's evidence with its version, from the store as it is now; of somebody erased nothing.

        Raises `DataError` as `find` does, and for a person whose directions were given: evidence does not change them.
        """
        states, dates = self._look([user])
        if user in states:
            return self._resume(states[user]), states[user].version
        if user in self.users and user not in dates:
            persona = self.users[user].persona
            if persona.directions is not None:
                problem = f"user {user!r} has directions in the bundle's users file, which evidence cannot change"
                raise DataError(f"{problem}: leave them null there, and they are inferred")
            return self.posterior.tally(persona), 0
        return self._empty(), 0

    def known(self, user: str, tally: Tally, version: int) -> Known:
        """What this tally says; nothing is kept yet."""
        return self._read({(user, ""): (tally, version)})[user, ""]

    def keep(self, known: Known) -> None:
        """The news about a person, from now on."""
        self._remember({(known.user, ""): (self.clock(), known)})

    def drop(self, user: str) -> None:
        """Look this person up again at the next question."""
        self._seen.pop((user, ""), None)

    @property
    def posterior(self) -> PosteriorInferrer:
        """The inferrer, where it keeps states. Raises `RecipeError` where it does not."""
        if isinstance(self.inferrer, PosteriorInferrer):
            return self.inferrer
        found = repr(self.inferrer.name) if self.inferrer is not None else "none"
        raise RecipeError(f"evidence is kept by the inferrer 'posterior', this bundle has {found}: name that one")

    def _remember(self, found: Mapping[UserPrompt, tuple[float, Known]]) -> None:
        for key, one in found.items():
            self._seen[key] = one
            self._seen.move_to_end(key)
        while len(self._seen) > self.capacity:
            self._seen.popitem(last=False)

    def _fresh(self, keys: Sequence[UserPrompt]) -> dict[UserPrompt, Known]:
        states, dates = self._look(list(dict.fromkeys(user for user, _ in keys if user is not None)))
        found: dict[UserPrompt, Known] = {}
        counted: dict[UserPrompt, tuple[Tally, int]] = {}
        for key in keys:
            user, prompt = key
            if user in states:
                counted[key] = self._resume(states[user]), states[user].version
            elif user is None or user in dates or user not in self.users:
                found[key] = self._stranger(user, "erased" if user in dates else "cold")
            elif self.users[user].persona.directions is None and isinstance(self.inferrer, PosteriorInferrer):
                counted[key] = self.inferrer.tally(self.users[user].persona), 0
            else:
                found[key] = self._given(user, prompt)
        return found | self._read(counted)

    def _look(self, users: Sequence[str]) -> tuple[dict[str, UserState], dict[str, str]]:
        """States, and of those without one the dates of their erasure."""
        if self.store is None or not users:
            return {}, {}
        self.store.refresh()
        states = self.store.get(users)
        return states, self.store.erased([user for user in users if user not in states])

    def _resume(self, state: UserState) -> Tally:
        where, own = self.store.where if self.store is not None else None, self.posterior.name
        if state.method != own:
            problem = f"the state of user {state.user_id!r} was written by {state.method!r}, not {own!r}"
            raise DataError(f"{problem}: infer the person again, or name the store of this inferrer", file=where)
        try:
            return self.posterior.resume(state)
        except DataError as error:
            raise DataError(error.problem, file=where) from error

    def _stranger(self, user: str | None, status: Knowledge) -> Known:
        return Known(user, self.space.neutral, self._prior, 0, status, user_known=False)

    def _given(self, user: str, prompt: str) -> Known:
        """A person of users.jsonl whose directions are there, or come from an inferrer without states."""
        persona = self.users[user].persona
        if persona.directions is not None:
            return Known(user, persona.directions, _certain(persona.directions), 0, "ok", True, persona.n_items)
        if self.inferrer is None:
            return Known(user, None, (), 0, "ok" if persona.n_items else "cold", True, persona.n_items)
        self.computed += 1
        return _known(user, self.inferrer.infer(persona, prompt), 0)

    def _read(self, counted: Mapping[UserPrompt, tuple[Tally, int]]) -> dict[UserPrompt, Known]:
        """The posteriors of tallies, those without answers to questions together."""
        plain = [key for key, (tally, _) in counted.items() if not tally.answers]
        found = {key: self.posterior.of(tally) for key, (tally, _) in counted.items() if tally.answers}
        for start in range(0, len(plain), CHUNK):
            part = plain[start : start + CHUNK]
            found |= zip(part, _together(self.posterior, [counted[key][0] for key in part]), strict=True)
        self.computed += len(found)
        return {key: _known(str(key[0]), found[key], version) for key, (_, version) in counted.items()}

    @cached_property
    def _prior(self) -> Probabilities:
        """The population's probabilities; an inferrer that has learned none says neutral."""
        if isinstance(self.inferrer, PosteriorInferrer):
            return self.inferrer.of(self._empty()).probabilities
        return _certain(self.space.neutral) if self.inferrer is not None else ()

    def _empty(self) -> Tally:
        return Tally(len(self.space), self.posterior.sources, self.posterior.config.half_life)


def _together(inferrer: PosteriorInferrer, tallies: Sequence[Tally]) -> list[Posterior]:
    found = inferrer.probabilities(join([tally.counts for tally in tallies]))
    rows = zip(found.tolist(), inferrer.decide(found).tolist(), tallies, strict=True)
    return [Posterior(tuple(map(tuple, p)), tuple(d), n_items=len(tally)) for p, d, tally in rows]


def _known(user: str, posterior: Posterior, version: int) -> Known:
    status: Knowledge = "cold" if posterior.cold else "ok"
    return Known(user, posterior.directions, posterior.probabilities, version, status, True, posterior.n_items)


def _certain(directions: Directions) -> Probabilities:
    return tuple((float(d == -1), float(d == 0), float(d == 1)) for d in directions)
