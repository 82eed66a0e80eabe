from collections import Counter

import pytest

from persona_rm.serving.pool.routing import Roster, ranked

NAMES = [f"reward-{i}" for i in range(4)]
PEOPLE = [f"u{i}" for i in range(4000)]


def homes(names):
    return {person: ranked(person, names)[0] for person in PEOPLE}


def test_the_order_of_a_person_is_the_same_wherever_it_is_computed():
    assert ranked("ann", NAMES) == ranked("ann", reversed(NAMES))
    assert ranked("ann", NAMES) == ["reward-0", "reward-2", "reward-3", "reward-1"], "other processes rely on it"
    assert ranked("ann", []) == []


def test_people_are_spread_evenly():
    counts = Counter(homes(NAMES).values())
    assert set(counts) == set(NAMES)
    assert max(counts.values()) < 1.15 * min(counts.values())


def test_when_an_actor_goes_only_its_people_move_to_all_others_and_they_come_back():
    before = homes(NAMES)
    without = homes([name for name in NAMES if name != "reward-1"])
    moved = {person for person in PEOPLE if before[person] != without[person]}
    assert moved == {person for person in PEOPLE if before[person] == "reward-1"}
    assert set(Counter(without[person] for person in moved)) == {"reward-0", "reward-2", "reward-3"}
    assert homes(NAMES) == before


def test_a_new_actor_takes_its_share_and_moves_nobody_else():
    before, after = homes(NAMES), homes([*NAMES, "reward-4"])
    moved = [person for person in PEOPLE if before[person] != after[person]]
    assert {after[person] for person in moved} == {"reward-4"}
    assert 0.15 < len(moved) / len(PEOPLE) < 0.25


def test_a_key_that_is_no_valid_unicode_has_a_home_too():
    assert ranked("\ud800", NAMES)[0] in NAMES


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def looks():
    return []


@pytest.fixture
def roster(clock, looks):
    found = [list(NAMES)]

    def look():
        looks.append(clock())
        return found[0]

    made = Roster(look, every=5, least=1, cooldown=10, clock=clock)
    made.found = found
    return made


def test_names_are_looked_up_every_few_seconds_and_no_more(roster, clock, looks):
    for second in range(11):
        clock.now = second
        for person in PEOPLE[:20]:
            roster.order(person)
    assert looks == [0, 5, 10]


def test_a_new_actor_is_found_and_a_gone_one_forgotten(roster, clock):
    assert set(roster.order("u")) == set(NAMES)
    roster.found[0] = ["reward-0", "reward-9"]
    clock.now = 5
    assert set(roster.order("u")) == {"reward-0", "reward-9"}


def test_who_did_not_answer_comes_last_for_a_while_and_names_are_looked_up_soon(roster, clock, looks):
    (first, *others) = roster.order("u")
    roster.failed(first)
    assert roster.order("u") == [*others, first]
    clock.now = 1
    roster.order("u")
    assert looks == [0, 1]
    clock.now = 9.9
    assert roster.order("u")[0] != first
    clock.now = 10.1
    assert roster.order("u")[0] == first


def test_who_answers_is_asked_first_again(roster):
    (first, *_) = roster.order("u")
    roster.failed(first)
    roster.answered(first)
    assert roster.order("u")[0] == first


def test_where_nobody_is_found_those_before_are_kept(roster, clock):
    roster.order("u")
    roster.found[0] = []
    clock.now = 5
    assert set(roster.order("u")) == set(NAMES)


def test_while_nobody_is_known_it_looks_every_second(clock, looks):
    roster = Roster(lambda: looks.append(clock()) or [], every=5, least=1, clock=clock)
    for tenth in range(25):
        clock.now = tenth / 10
        assert roster.order("u") == []
    assert looks == [0, 1, 2]
