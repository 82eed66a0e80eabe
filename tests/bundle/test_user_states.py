from dataclasses import replace

import numpy as np
import pytest

from persona_rm.bundle import User, UserStates
from persona_rm.errors import DataError, RecipeError
from persona_rm.inferrers.evidence import Item
from persona_rm.inferrers.posterior import PosteriorConfig, PosteriorInferrer
from persona_rm.inferrers.vote import VoteConfig, VoteInferrer
from persona_rm.profiles import open_store
from persona_rm.profiles.arrow import write_snapshot
from persona_rm.types import Persona, Ugc, UserState

SOME = 3
"""So many items that agree are enough to speak."""


def votes(space, dim, way=1):
    return tuple(way * int(i == dim) for i in range(len(space)))


def person(space, user, dim, n=SOME):
    return User(Persona(user, ugc=tuple(Ugc("q", f"{user} {dim} {i}", votes(space, dim)) for i in range(n))))


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def inferrer(space):
    return PosteriorInferrer(PosteriorConfig(), space)


@pytest.fixture
def store(tmp_path):
    with open_store(f"sqlite:{tmp_path / 'p.sqlite'}", create=True) as opened:
        yield opened


@pytest.fixture
def people(space, inferrer, store):
    """Ann and bob of the users file, who like dimensions 0 and 1; "given" has directions; the clock stands still."""
    users = {name: person(space, name, dim) for dim, name in enumerate(("ann", "bob"))}
    users["given"] = User(Persona("given", directions=votes(space, 5, -1)))
    users["new"] = User(Persona("new"))
    made = UserStates(space, users, inferrer, store, refresh=60, clock=Clock())
    made.reads = []
    look = store.look
    store.look = lambda ids: (made.reads.append(list(ids)), look(ids))[1]
    return made


def put(people, user, dim, version=1, **erased):
    tally = people.inferrer.tally(person(people.space, user, dim).persona)
    people.store.put([people.inferrer.state(user, tally, version)], **erased)


def find(people, *users):
    return people.find([(user, "") for user in users])


def test_one_look_up_and_one_computation_for_all_and_none_the_second_time(people, space):
    put(people, "eve", 7, version=4)
    asked = ["eve", "ann", "zoe", "bob", "ann", None]
    found = find(people, *asked)
    assert [known.user_id for known in found] == asked
    assert [known.directions for known in found[:2]] == [votes(space, 7), votes(space, 0)]
    assert [known.version for known in found] == [4, 0, 0, 0, 0, 0]
    assert [known.known for known in found] == [True, True, False, True, True, False]
    assert [known.status for known in found] == ["ok", "ok", "cold", "ok", "ok", "cold"]
    assert people.reads == [["eve", "ann", "zoe", "bob"]]
    assert people.computed == 3
    assert find(people, *asked) == found
    assert (len(people.reads), people.computed) == (1, 3)


def test_together_and_alone_give_the_same(people, inferrer):
    together = find(people, "ann", "bob")
    for known in together:
        alone = inferrer.infer(people.users[known.user_id].persona)
        assert known.directions == alone.directions
        assert np.allclose(known.probabilities, alone.probabilities, atol=1e-12)


def test_an_answer_to_a_question_is_read_too(people, inferrer, space):
    tally = inferrer.tally(Persona("eve"))
    for i in range(4):
        tally.hear(f"q{i}", votes(space, 3, 2), 2)
    people.store.put([inferrer.state("eve", tally)])
    known = find(people, "eve", "ann")[0]
    assert known.probabilities == inferrer.of(tally).probabilities
    assert known.probabilities[3][2] > 0.5 > find(people, "zoe")[0].probabilities[3][2]


def test_the_store_wins_over_the_users_file(people, space):
    put(people, "ann", 7)
    put(people, "given", 8)
    assert [known.directions for known in find(people, "ann", "given")] == [votes(space, 7), votes(space, 8)]


def test_given_directions_are_certain_and_somebody_without_evidence_is_known_and_cold(people, space, inferrer):
    given, new = find(people, "given", "new")
    assert (given.directions, given.status) == (votes(space, 5, -1), "ok")
    assert given.probabilities[5:7] == ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    assert (new.status, new.known, new.version) == ("cold", True, 0)
    assert new.probabilities == inferrer.infer(Persona("x")).probabilities


def test_a_state_names_the_items_behind_it_and_those_behind_each_direction(people, inferrer, monkeypatch):
    put(people, "eve", 7, version=4)
    eve, ann, given, zoe = find(people, "eve", "ann", "given", "zoe")
    assert set(eve.evidence) == set(inferrer.tally(person(people.space, "eve", 7).persona).entries)
    assert (len(eve.evidence), len(ann.evidence), given.evidence, zoe.evidence) == (SOME, SOME, (), ())
    assert people.store.get(["eve"])["eve"].evidence == (), "derived from the payload, not stored beside it"
    behind = people.evidence(eve)
    assert behind.keys() == {7}
    assert set(behind[7]) == set(eve.evidence)
    assert people.evidence(zoe) == {}
    monkeypatch.setattr("persona_rm.bundle.user_states.NAMED", 2)
    people.drop("eve")
    assert find(people, "eve")[0].evidence == eve.evidence[-2:]


def test_the_erased_are_strangers_whatever_the_users_file_says(people, space):
    put(people, "eve", 7)
    people.store.erase(["ann", "eve", "zoe"])
    for known in find(people, "ann", "eve", "zoe"):
        assert (known.status, known.known, known.directions) == ("erased", False, space.neutral)
    assert find(people, "bob")[0].known


def test_news_are_seen_when_the_time_is_over_and_not_before(people, space):
    assert find(people, "ann", "eve")[1].known is False
    put(people, "ann", 7)
    put(people, "eve", 8, version=2)
    people.clock.now = 59.9
    assert find(people, "ann")[0].directions == votes(space, 0)
    people.clock.now = 60.0
    assert [known.directions for known in find(people, "ann", "eve")] == [votes(space, 7), votes(space, 8)]
    people.store.erase(["eve"])
    assert find(people, "eve")[0].status == "ok"
    people.clock.now = 120.0
    assert find(people, "eve")[0].status == "erased"
    put(people, "eve", 9, version=2, readmit=True)
    people.clock.now = 180.0
    assert find(people, "eve")[0].directions == votes(space, 9), "the same version, but other evidence"


def test_a_look_up_does_not_make_older_finds_younger(people, space):
    find(people, "ann")
    people.clock.now = 40.0
    find(people, "ann", "bob")
    put(people, "ann", 7)
    people.clock.now = 70.0
    assert find(people, "ann")[0].directions == votes(space, 7)


def test_who_was_asked_for_longest_ago_leaves_first(space, inferrer):
    users = {f"u{i}": person(space, f"u{i}", i) for i in range(4)}
    people = UserStates(space, users, inferrer, capacity=2)
    find(people, "u0", "u1")
    find(people, "u0")
    find(people, "u2")
    assert [user for user, _ in people._cache] == ["u0", "u2"]
    assert [known.directions for known in find(people, *users)] == [votes(space, i) for i in range(4)]
    assert len(people) == 2


def test_more_people_than_one_computation_holds(space, inferrer, monkeypatch):
    monkeypatch.setattr("persona_rm.bundle.user_states.CHUNK", 2)
    users = {f"u{i}": person(space, f"u{i}", i) for i in range(5)}
    found = find(UserStates(space, users, inferrer), *users)
    assert [known.directions for known in found] == [votes(space, i) for i in range(5)]


@pytest.mark.parametrize(
    ("state", "message"),
    [
        (UserState("vote", "ann", {}), "was written by 'vote', not 'posterior': infer the user again"),
        (UserState("posterior", "ann", {"layout": 0}), "has layout 0; this version reads layout 1: infer it again"),
        (UserState("posterior", "ann", {"layout": 1, "size": 3}), r"is of 3 dimensions.*infer it again"),
    ],
)
def test_a_state_of_others_is_an_error_and_never_the_prior(people, state, message):
    people.store.put([state])
    for ask in (lambda: find(people, "bob", "ann"), lambda: people.tally("ann")):
        with pytest.raises(DataError, match=rf"p\.sqlite: the state of user 'ann' {message}"):
            ask()
    assert find(people, "bob")[0].status == "ok"


def test_evidence_to_write_comes_from_the_store_as_it_is_now(people, space):
    tally, version = people.tally("ann")
    assert (len(tally), version) == (SOME, 0)
    find(people, "ann")
    put(people, "ann", 7, version=9)
    assert people.tally("ann")[1] == 9
    people.store.erase(["ann"])
    tally, version = people.tally("ann")
    assert (len(tally), version) == (0, 0), "the line in the users file does not come back"
    assert len(people.tally("nobody")[0]) == 0
    with pytest.raises(DataError, match=r"'given' has directions in the bundle's users file.*leave them null"):
        people.tally("given")


def test_what_is_kept_is_found_until_it_is_looked_up_again(people, space):
    tally, _ = people.tally("ann")
    tally.add([Item(f"n{i}", "ugc", votes(space, 7)) for i in range(SOME)])
    before = find(people, "ann")[0]
    known = people.state("ann", tally, 1)
    assert find(people, "ann") == [before]
    people.keep(known)
    assert find(people, "ann") == [known] != [before]
    people.drop("ann")
    assert find(people, "ann") == [before]


def test_without_a_store_nothing_is_ever_looked_up_again(space, inferrer):
    people = UserStates(space, {"ann": person(space, "ann", 0)}, inferrer, refresh=0)
    find(people, "ann")
    find(people, "ann")
    assert people.computed == 1


def test_a_snapshot_is_read_like_any_store(tmp_path, space, inferrer):
    state = inferrer.state("eve", inferrer.tally(person(space, "eve", 4).persona))
    write_snapshot(tmp_path / "p.arrow", [state, replace(state, user_id="mia")])
    with open_store(f"arrow:{tmp_path / 'p.arrow'}") as snapshot:
        snapshot.erase(["mia"])
        eve, mia = find(UserStates(space, {}, inferrer, snapshot), "eve", "mia")
    assert (eve.directions, eve.version, mia.status) == (votes(space, 4), 1, "erased")


def test_a_snapshot_written_again_is_seen_when_the_time_is_over(tmp_path, space, inferrer):
    def write(dim, version):
        tally = inferrer.tally(person(space, "ann", dim).persona)
        return write_snapshot(tmp_path / "p.arrow", [inferrer.state("ann", tally, version)])

    people = UserStates(space, {}, inferrer, open_store(f"arrow:{write(1, 1)}"), refresh=60, clock=Clock())
    assert find(people, "ann")[0].directions == votes(space, 1)
    write(2, 2)
    assert find(people, "ann")[0].directions == votes(space, 1)
    people.clock.now += 61
    (ann,) = find(people, "ann")
    assert (ann.directions, ann.version) == (votes(space, 2), 2)


def test_other_inferrers_and_none_keep_no_evidence(space):
    users = {"ann": person(space, "ann", 0), "given": User(Persona("given", directions=votes(space, 2)))}
    vote = UserStates(space, users, VoteInferrer(VoteConfig(), space))
    assert [known.directions for known in find(vote, "ann", "given")] == [votes(space, 0), votes(space, 2)]
    assert find(vote, "zoe")[0].probabilities[0] == (0.0, 1.0, 0.0)
    nobody = UserStates(space, users, None)
    assert [known.directions for known in find(nobody, "ann", "given")] == [None, votes(space, 2)]
    for people, name in ((vote, "'vote'"), (nobody, "none")):
        with pytest.raises(RecipeError, match=f"kept by the inferrer 'posterior', this bundle has {name}"):
            people.tally("ann")
