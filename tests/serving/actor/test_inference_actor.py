import asyncio

import pytest

from persona_rm.errors import DataError, RecipeError, ScoreError
from persona_rm.inferrers.evidence import Item
from persona_rm.profiles import open_store
from persona_rm.profiles.arrow import write_snapshot
from persona_rm.serving.actor.inference_actor import InferenceActor
from persona_rm.types import UserState
from tests.serving.serving_samples import SOME, items, user, users_bundle, votes

LOOP = asyncio.Runner()
"""One loop for all calls of an actor, as in its process."""


@pytest.fixture(autouse=True, scope="module")
def closed_loop():
    with LOOP:
        yield


@pytest.fixture
def folder(tmp_path, space):
    return users_bundle(tmp_path / "bundle", space)


@pytest.fixture
def actor(folder):
    return InferenceActor(str(folder))


def run(*calls):
    """What each call gives, in turn; an exception where it raised."""
    return [together(call)[0] for call in calls]


def together(*calls):
    async def main():
        return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 20)

    return LOOP.run(main())


def liked(known):
    return [i for i, direction in enumerate(known.directions) if direction]


def test_a_profile_says_what_the_policy_reads_and_where_it_comes_from(actor):
    known, stranger, nobody = run(actor.profile("u0", "Hi"), actor.profile("zoe", "Hi"), actor.profile(None, "Hi"))
    assert known.text == actor.bundle.space.describe(actor.bundle.directions("u0"))
    assert known.text in known.prompt
    assert (known.user_known, known.version, known.status) == (True, 0, "ok")
    assert (stranger.text, stranger.user_known, stranger.status) == ("", False, "cold")
    assert stranger == nobody
    assert stranger.prompt == actor.bundle.prompts.plain("Hi")
    assert actor.counts == {"profiles": 3, "cold": 2}


def test_profiles_that_are_asked_for_together_are_few_computations(tmp_path, space):
    actor = InferenceActor(str(users_bundle(tmp_path / "many", space, n=60)))
    people = []
    compute = actor.bundle.user_states.stateful.probabilities
    actor.bundle.user_states.stateful.probabilities = lambda counts: (people.append(len(counts)), compute(counts))[1]
    found = together(*[actor.profile(f"u{i}", "Hi") for i in range(60)])
    assert [profile.text for profile in found] == [space.describe(votes(space, i)) for i in range(60)]
    assert len(people) <= 2
    assert sum(people) == 60
    together(*[actor.profile(f"u{i}", "Hi") for i in range(60)])
    assert sum(people) == 60, "the second time everybody is known"


def test_directions_of_many_in_their_order_and_in_one_computation(actor, space):
    (found,) = run(actor.directions(["u1", "zoe", "u0", "u1", "given"]))
    assert [(known.user_id, liked(known)) for known in found] == [
        ("u1", [1]), ("zoe", []), ("u0", [0]), ("u1", [1]), ("given", [5]),
    ]  # fmt: skip
    assert [known.status for known in found] == ["ok", "cold", "ok", "ok", "ok"]
    assert all(sum(p) == pytest.approx(1) for known in found for p in known.probabilities)
    assert found[1].probabilities != found[0].probabilities
    assert actor.batcher.sizes == [1]
    assert run(actor.directions([])) == [[]]


def test_people_in_memory_are_bounded(tmp_path, space):
    actor = InferenceActor(str(users_bundle(tmp_path / "few", space, n=10, states=4)))
    (found,) = run(actor.directions([f"u{i}" for i in range(10)]))
    assert [liked(known) for known in found] == [[i] for i in range(10)]
    assert run(actor.info())[0]["cached"] == 4


def test_evidence_changes_what_is_said_at_once_and_versions_rise(actor, space):
    versions = run(actor.profile("new", "Hi"), actor.observe("new", items(space, 7)), actor.profile("new", "Hi"))
    assert versions[0].user_known is False
    assert versions[1] == 1
    assert (versions[2].text, versions[2].version) == (space.describe(votes(space, 7)), 1)
    assert run(actor.observe("new", items(space, 8)), actor.observe("u0", items(space, 9))) == [2, 1]
    (found,) = run(actor.directions(["new", "u0"]))
    assert [liked(known) for known in found] == [[7, 8], [0, 9]], "a line of users.jsonl is where evidence begins"
    assert [known.version for known in found] == [2, 1]
    assert actor.counts["observed"] == 3


def test_evidence_that_is_known_makes_no_new_version(actor, space):
    calls = (actor.observe("u0", items(space, 7)), actor.observe("u0", items(space, 7)), actor.observe("u0", []))
    assert run(*calls) == [1, 1, 1]
    assert actor.bundle.store.get(["u0"])["u0"].version == 1
    assert actor.bundle.store.get(["u0"])["u0"].n_items == 2 * SOME


def test_observations_of_one_person_that_come_together_lose_nothing(actor, space):
    calls = [actor.observe("new", [Item(f"i{i}", "ugc", votes(space, 3))]) for i in range(40)]
    versions = together(*calls, actor.profile("new", "Hi"), actor.observe("u0", items(space, 7)))
    assert sorted(versions[:40]) == list(range(1, 41))
    state = actor.bundle.store.get(["new"])["new"]
    assert (state.n_items, state.version) == (40, 40)
    assert liked(run(actor.directions(["new"]))[0][0]) == [3]


def test_two_actors_with_one_store_lose_no_observation(actor, folder, space):
    other = InferenceActor(str(folder))
    calls = [
        one.observe("new", [Item(f"{one is other}{i}", "ugc", votes(space, 3))])
        for i in range(20)
        for one in (actor, other)
    ]
    assert sorted(together(*calls)) == list(range(1, 41))
    state = actor.bundle.store.get(["new"])["new"]
    assert (state.n_items, state.version) == (40, 40)


def test_answers_and_forgetting(actor, space):
    clear = votes(space, 3, 2)
    told = run(*[actor.answer("new", f"q{i}", clear, 2) for i in range(6)])
    assert told == [1, 2, 3, 4, 5, 6]
    before = run(actor.directions(["new"]))[0][0]
    assert liked(before) == [3]
    assert run(actor.answer("new", "q0", clear, 2)) == [6], "the same answer again"
    assert run(actor.forget("new", [f"q{i}" for i in range(6)])) == [7]
    after = run(actor.directions(["new"]))[0][0]
    assert (liked(after), after.status, after.version) == ([], "cold", 7)
    assert run(actor.observe("u0", items(space, 7)), actor.forget("u0", ["item 7 0", "item 7 1", "item 7 2"])) == [
        1,
        2,
    ]
    assert liked(run(actor.directions(["u0"]))[0][0]) == [0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda a, s: a.observe("u0", [Item("i", "ugc", (1, 0))]), "user 'u0', item i needs 90 directions"),
        (lambda a, s: a.observe("u0", [Item("i", "ugc", votes(s, 1, 2))]), "directions of -1, 0 or 1"),
        (lambda a, s: a.observe("u0", [Item("i", "ugc", votes(s, 1), "today")]), "must be ISO 8601"),
        (lambda a, s: a.observe("given", items(s, 1)), "'given' has directions in the bundle's users file"),
        (lambda a, s: a.observe("", items(s, 1)), "a state without a user id cannot be stored"),
        (lambda a, s: a.answer("u0", "q", votes(s, 1), 3), r"one of \[-2, -1, 0, 1, 2\], found 3; nothing was"),
        (lambda a, s: a.answer("u0", "q", (1, 0), 1), "question q has 2 dimensions"),
        (lambda a, s: a.forget("u0", ["none"]), "no item 'none' here"),
        (lambda a, s: a.forget("zoe", ["none"]), "no item 'none' here"),
        (lambda a, s: a.export("zoe"), "'zoe' is unknown: neither"),
    ],
)
def test_what_cannot_be_written_raises_and_changes_nothing(actor, space, call, message):
    before = run(actor.directions(["u0", "given"]))
    (error,) = run(call(actor, space))
    assert isinstance(error, DataError)
    with pytest.raises(DataError, match=message):
        raise error
    assert list(actor.bundle.store.ids()) == []
    assert run(actor.directions(["u0", "given"])) == before


def test_a_put_that_fails_leaves_everything_as_it_was(actor, space):
    run(actor.observe("u0", items(space, 7)))
    before = run(actor.profile("u0", "Hi"))
    put = actor.bundle.store.put

    def fails(states, **_):
        raise DataError("the disk is full")

    actor.bundle.store.put = fails
    assert isinstance(run(actor.observe("u0", items(space, 8)))[0], DataError)
    assert run(actor.profile("u0", "Hi")) == before
    actor.bundle.store.put = put
    assert run(actor.observe("u0", items(space, 9))) == [2]
    assert liked(run(actor.directions(["u0"]))[0][0]) == [0, 7, 9]


def test_the_erased_are_strangers_until_they_are_readmitted(actor, space):
    assert run(actor.erase("u1"), actor.observe("u0", items(space, 7)), actor.erase("u0")) == [False, 1, True]
    erased, stranger = run(actor.profile("u0", "Hi"), actor.profile("zoe", "Hi"))
    assert (erased.status, erased.user_known, erased.prompt) == ("erased", False, stranger.prompt)
    assert actor.counts["erased"] == 1
    (error,) = run(actor.observe("u0", items(space, 8)))
    assert "was erased on" in str(error)
    assert "readmit=True" in str(error)
    assert run(actor.observe("u0", items(space, 8), readmit=True)) == [1]
    assert liked(run(actor.directions(["u0"]))[0][0]) == [8], "nothing of before counts"


def test_what_is_held_about_a_person(actor, space, folder):
    run(actor.observe("u0", items(space, 7)), actor.erase("u1"))
    u0, u1, given = run(actor.export("u0"), actor.export("u1"), actor.export("given"))
    assert u0["state"]["payload"]["items"].keys() >= {"item 7 0"}
    assert u0["directions"] == {space.ids[0]: 1, space.ids[7]: 1}
    assert u0["users_file"]["persona"]["ugc"][0]["comment"] == "u0 0"
    assert (u0["erased"], u1["state"], u1["directions"]) == (None, None, {})
    assert len(u1["erased"]) == len("2026-01-01")
    assert given["directions"] == {space.ids[5]: 1}


def test_a_state_that_this_inferrer_did_not_write_is_named_and_no_prior(actor):
    old = UserState("posterior", "u0", {"layout": 0})
    actor.bundle.store.put([old, UserState("vote", "u1")])
    calls = (actor.profile("u0", "Hi"), actor.directions(["given", "u0"]), actor.observe("u0", []))
    for error in run(*calls):
        assert isinstance(error, DataError)
        assert "user 'u0' has layout 0; this version reads layout 1: infer it again" in str(error)
    many = together(actor.profile("u0", "Hi"), actor.profile("given", "Hi"), actor.profile("u1", "Hi"))
    assert [isinstance(one, DataError) for one in many] == [True, False, True]
    assert many[1].status == "ok"
    assert actor.bundle.store.get(["u0"])["u0"] == old


def test_a_new_actor_goes_on_from_the_store(actor, folder, space):
    run(actor.observe("u0", items(space, 7)), actor.observe("u0", items(space, 8)))
    again = InferenceActor(str(folder))
    assert run(again.profile("u0", "Hi")) == run(actor.profile("u0", "Hi"))
    assert run(again.observe("u0", items(space, 9))) == [3]


def test_without_a_store_it_reads_and_says_what_to_set(tmp_path, space):
    actor = InferenceActor(str(users_bundle(tmp_path / "bundle", space, profiles=None)))
    assert liked(run(actor.directions(["u0"]))[0][0]) == [0]
    assert run(actor.export("u0"))[0]["state"] is None
    writes = (actor.observe("u0", items(space, 7)), actor.forget("u0", []), actor.erase("u0"))
    for error in run(*writes, actor.answer("u0", "q", votes(space, 1), 1)):
        assert isinstance(error, DataError)
        assert "bundle.yaml, key 'profiles': this bundle names no profile store" in str(error)


def test_another_inferrer_reads_and_keeps_no_evidence(tmp_path, space):
    keys = {"profiles": None, "inferrer": {"name": "vote"}}
    actor = InferenceActor(str(users_bundle(tmp_path / "bundle", space, **keys)))
    assert liked(run(actor.directions(["u0"]))[0][0]) == [0]
    for error in run(actor.observe("u0", items(space, 7)), actor.forget("u0", [])):
        assert isinstance(error, RecipeError)
        assert "kept by the inferrer 'posterior', this bundle has 'vote'" in str(error)


def test_a_snapshot_is_read_and_erased_from_and_not_written(tmp_path, space):
    folder = users_bundle(tmp_path / "bundle", space, profiles=None)
    posterior = InferenceActor(str(folder)).bundle.user_states.stateful
    states = [posterior.state(name, posterior.tally(user(space, name, 6).persona), 4) for name in ("u0", "eve")]
    write_snapshot(folder / "people.arrow", states)
    actor = InferenceActor(str(users_bundle(folder, space, profiles="people.arrow")))
    assert [(liked(known), known.version) for known in run(actor.directions(["u0", "eve", "u1"]))[0]] == [
        ([6], 4), ([6], 4), ([1], 0),
    ]  # fmt: skip
    (error, was_there) = run(actor.observe("eve", items(space, 7)), actor.erase("eve"))
    assert "a snapshot cannot be changed" in str(error)
    assert was_there is True
    assert run(actor.profile("eve", "Hi"))[0].status == "erased"


def test_info_names_what_is_served(actor, folder, space):
    run(actor.warm(), actor.profile("u0", "Hi"), actor.observe("u0", items(space, 7)))
    (info,) = run(actor.info())
    assert (info["name"], info["bundle"], info["inferrer"]) == ("inference-0", str(folder), "posterior")
    assert info["profiles"] == str(folder / "people.sqlite")
    assert (info["users"], info["counts"]) == (3, {"profiles": 1, "observed": 1})
    with open_store(f"sqlite:{folder / 'people.sqlite'}") as store:
        assert list(store.ids()) == ["u0"]


def test_closing_waits_for_writes_and_lets_go_of_the_store(folder, space):
    actor = InferenceActor(str(folder))
    version, _, late = together(actor.observe("u0", items(space, 1)), actor.close(), actor.profile("u0", "Hi"))
    assert version == 1
    assert isinstance(late, ScoreError)
    assert late.kind == "down"
    assert [path.name for path in folder.glob("people.sqlite*")] == ["people.sqlite"], "no log is left beside it"
    assert run(InferenceActor(str(folder)).profile("u0", "Hi"))[0].version == 1
