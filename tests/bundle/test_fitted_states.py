"""States that were fitted with the bundle: between the profile store and the users file, and erased in either."""

from pathlib import Path

import pytest

from persona_rm.bundle import User, UserStates
from persona_rm.bundle.user_states import EVIDENCE, FITTED
from persona_rm.inferrers.posterior import PosteriorConfig, PosteriorInferrer
from persona_rm.profiles import ProfileStore, open_store
from persona_rm.profiles.arrow import ArrowSnapshot, write_snapshot
from persona_rm.space import PreferenceSpace
from persona_rm.types import Persona, Ugc, UserState


def fitted_state(user: str, n_items: int = 2) -> UserState:
    return UserState("centroid", user, {"sum": "AAAA", "n": n_items, EVIDENCE: ["a", "b"]}, n_items)


@pytest.fixture
def store(tmp_path: Path) -> ProfileStore:
    return open_store(f"sqlite:{tmp_path / 'p.sqlite'}", create=True).open()


@pytest.fixture
def states(tmp_path: Path, space: PreferenceSpace, store: ProfileStore) -> UserStates:
    """Ann and bob have fitted states, eve has none, and the silent user's holds nothing."""
    path = write_snapshot(
        tmp_path / "states.arrow", [fitted_state("ann"), fitted_state("bob"), fitted_state("hush", 0)]
    )
    users = {user: User(Persona(user)) for user in ("ann", "bob", "eve", "hush")}
    inferrer = PosteriorInferrer(PosteriorConfig(), space)
    return UserStates(space, users, inferrer, store, fitted=ArrowSnapshot(path), refresh=0)


def test_a_fitted_state_comes_with_its_evidence(states: UserStates) -> None:
    ann, eve, hush = states.find([("ann", ""), ("eve", ""), ("hush", "")])
    assert (ann.method, ann.n_items, ann.version, ann.evidence) == ("centroid", 2, 1, ("a", "b"))
    assert ann.payload[FITTED] == {"sum": "AAAA", "n": 2}
    assert (ann.status, ann.known, hush.status, hush.known) == ("ok", True, "cold", True)
    assert FITTED not in eve.payload


def test_the_profile_store_has_priority(states: UserStates, store: ProfileStore, space: PreferenceSpace) -> None:
    likes = (1, *space.neutral[1:])
    later = Persona("ann", ugc=tuple(Ugc("q", f"text {i}", likes) for i in range(4)))
    store.put([states.stateful.state("ann", states.stateful.tally(later), 7)])
    ann, bob = states.find([("ann", ""), ("bob", "")])
    assert (ann.version, ann.directions, FITTED in ann.payload) == (7, likes, False)
    assert FITTED in bob.payload


@pytest.mark.parametrize("where", ["fitted", "store"])
def test_a_user_erased_in_either_is_unknown(states: UserStates, where: str) -> None:
    assert states.find([("ann", "")])[0].known
    holder = getattr(states, where)
    holder.erase(["ann"])
    ann, bob = states.find([("ann", ""), ("bob", "")])
    assert (ann.status, ann.known, FITTED in ann.payload) == ("erased", False, False)
    assert bob.known
