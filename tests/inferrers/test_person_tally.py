"""Counting item by item equals counting at once, in any order; what is forgotten leaves no trace; states are JSON."""

import json
from dataclasses import replace
from datetime import date, datetime

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_rm.errors import DataError
from persona_rm.inferrers.evidence import items_of
from persona_rm.inferrers.tally import Tally, read_tally
from persona_rm.types import Persona, Ugc, UserState
from tests.inferrers.inferrer_samples import SOURCES, draw, item, known_model, make, person, toy_space

SIZE = 6
TODAY = date(2026, 1, 1)
NOON = datetime(2026, 1, 1, 12)
DATES = (
    st.none() | st.dates(max_value=TODAY).map(str) | st.datetimes(max_value=NOON).map(lambda when: when.isoformat())
)
ITEMS = st.lists(
    st.tuples(st.lists(st.sampled_from([-1, 0, 1]), min_size=SIZE, max_size=SIZE),
              st.sampled_from(["ugc", "pair", "import"]), DATES),
    min_size=1, max_size=12,
)  # fmt: skip
LEARNED = make("posterior", toy_space(SIZE), half_life=30, classes=(2,))
LEARNED.fit(draw(known_model(2), 60).personas())


def items_from(drawn):
    return [item(i, *votes, source=source, created=date) for i, (votes, source, date) in enumerate(drawn)]


def tally(items=(), half_life=30.0, sources=("ugc", "pair", "other")):
    found = Tally(SIZE, sources, half_life)
    found.add(items)
    return found


def close(a, b):
    np.testing.assert_allclose(a.probabilities, b.probabilities, atol=1e-6)
    assert a.n_items == b.n_items


@settings(deadline=None, max_examples=60)
@given(drawn=ITEMS, data=st.data())
def test_any_order_one_by_one_equals_the_batch(drawn, data):
    items = items_from(drawn)
    batch, streamed = (Tally(SIZE, LEARNED.sources, 30.0) for _ in range(2))
    batch.add(items)
    for each in data.draw(st.permutations(items)):
        assert streamed.add([each]) == 1
        LEARNED.of(streamed)
    close(LEARNED.of(streamed), LEARNED.of(batch))
    close(LEARNED.of(batch), LEARNED.read(items, Persona("ann"), ""))


@settings(deadline=None, max_examples=60)
@given(drawn=ITEMS, data=st.data())
def test_counts_are_the_definition(drawn, data):
    """0.5 ** (age / half_life) by the newest date of all, whatever the order."""
    items = data.draw(st.permutations(items_from(drawn)))
    found = tally(items)
    newest = max((i.when for i in items if i.when is not None), default=0.0)
    votes, totals = np.zeros((3, SIZE, 2)), np.zeros(3)
    for each in items:
        weight = 1.0 if each.when is None else 0.5 ** ((newest - each.when) / 86_400 / 30)
        source = {"ugc": 0, "pair": 1}.get(each.source, 2)
        votes[source, :, 0] += weight * (np.array(each.votes) == -1)
        votes[source, :, 1] += weight * (np.array(each.votes) == 1)
        totals[source] += weight
    np.testing.assert_allclose(found.counts.votes[0], votes, atol=1e-9)
    np.testing.assert_allclose(found.counts.totals[0], totals, atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(drawn=ITEMS, data=st.data())
def test_forgetting_is_never_having_seen(drawn, data):
    """Bit for bit."""
    items = items_from(drawn)
    gone = set(data.draw(st.lists(st.sampled_from([i.id for i in items]), unique=True)))
    full, never = (Tally(SIZE, LEARNED.sources, 30.0) for _ in range(2))
    full.add(items)
    full.forget(sorted(gone))
    never.add([i for i in items if i.id not in gone])
    np.testing.assert_array_equal(full.counts.votes, never.counts.votes)
    np.testing.assert_array_equal(full.counts.totals, never.counts.totals)
    assert (full.entries, full.newest) == (never.entries, never.newest)
    assert LEARNED.of(full, explain=True) == LEARNED.of(never, explain=True)
    assert full.to_payload() == never.to_payload()


def test_forgetting_the_newest_lets_the_others_count_again():
    found = tally([item("old", 1, created="2020-01-01"), item("new", 1, created="2020-01-31")])
    assert found.counts.votes[0, 0, 0, 1] == pytest.approx(1.5)
    found.forget(["new"])
    assert found.counts.votes[0, 0, 0, 1] == 1.0
    assert len(found) == 1


def test_what_is_unknown_cannot_be_forgotten_and_nothing_is():
    found = tally([item("a", 1), item("b", -1)])
    with pytest.raises(DataError, match=r"no item 'c'.*2 items"):
        found.forget(["a", "c"])
    assert set(found.entries) == {"a", "b"}


def test_a_repeated_item_counts_once():
    once, often = tally([item("a", 1, -1)]), tally([item("a", 1, -1)] * 500)
    assert often.add([item("a", 1, -1)] * 500) == 0
    np.testing.assert_array_equal(once.counts.votes, often.counts.votes)
    assert len(often) == 1
    votes = (1, *([0] * (SIZE - 1)))
    loud = Persona("ann", (Ugc("p", "same", votes),) * 1000)
    assert LEARNED.infer(loud) == LEARNED.infer(Persona("ann", (Ugc("p", "same", votes),)))


def test_age_counts_by_half_lives_whatever_the_order():
    items = [item(i, 1, created=date) for i, date in enumerate(["2024-03-01", "2024-01-01", "2024-01-31"])]
    by_hand = 1 + 0.5 ** (60 / 30) + 0.5 ** (30 / 30)
    assert tally(items).counts.totals[0, 0] == pytest.approx(by_hand)
    assert tally(items[::-1]).counts.totals[0, 0] == pytest.approx(by_hand)
    assert tally([*items, item("x", 1)]).counts.totals[0, 0] == pytest.approx(by_hand + 1)
    assert tally(items, half_life=None).counts.totals[0, 0] == 3


def test_a_thousand_years_of_items_neither_overflow_nor_vanish():
    years = [f"{year:04}-06-01" for year in range(1000, 2020, 10)]
    for order in (years, years[::-1]):
        found = tally([item(i, 1, created=date) for i, date in enumerate(order)], sources=LEARNED.sources)
        assert found.counts.totals[0, 0] == pytest.approx(1, abs=1e-6)
        assert np.isfinite(LEARNED.probabilities(found.counts)).all()


@pytest.mark.parametrize("created", ["yesterday", "2024-02-30", "", "9999-01-01", 20240101])
def test_what_is_no_date_is_refused_and_counts_nothing(created):
    found = tally([item("fine", 1)])
    with pytest.raises(DataError, match=r"item bad.*(ISO 8601|has not come yet)"):
        found.add([item("bad", 1, created=created)])
    assert set(found.entries) == {"fine"}
    assert found.counts.totals.sum() == 1


def test_an_item_of_another_space_is_refused():
    with pytest.raises(DataError, match=r"item a has 7 votes.*6"):
        tally([item("a", 1, size=7)])


@settings(deadline=None, max_examples=40)
@given(drawn=ITEMS)
def test_a_state_survives_json(drawn):
    found = Tally(SIZE, LEARNED.sources, 30.0)
    found.add(items_from(drawn))
    state = LEARNED.state("ann", found, version=3)
    assert (state.method, state.user_id, state.n_items, state.version) == ("posterior", "ann", len(drawn), 3)
    back = UserState.from_json(state.to_json())
    assert back == state
    close(LEARNED.of(LEARNED.resume(back)), LEARNED.of(found))
    assert LEARNED.resume(back).entries == found.entries


def test_a_state_goes_on_where_it_stopped():
    items = [item(i, 1, -1, created=f"2024-0{1 + i}-01") for i in range(6)]
    first = Tally(SIZE, LEARNED.sources, 30.0)
    first.add(items[:3])
    resumed = LEARNED.resume(UserState.from_json(LEARNED.state("ann", first).to_json()))
    assert resumed.add(items) == 3
    resumed.forget(["1"])
    expected = Tally(SIZE, LEARNED.sources, 30.0)
    expected.add([i for i in items if i.id != "1"])
    close(LEARNED.of(resumed), LEARNED.of(expected))


def test_an_empty_state_is_the_prior():
    found = LEARNED.of(LEARNED.resume(UserState("posterior", "ann")))
    assert found.cold
    close(found, LEARNED.infer(Persona("ann")))
    np.testing.assert_allclose(found.probabilities, LEARNED.calibration(LEARNED.model.prior), rtol=1e-9)


def test_a_state_holds_no_text():
    """No word of any item, prompt or date."""
    words = ["zebra", "quartz", "violin", "marmalade", "glacier", "Hubertus"]
    ugc = (Ugc(f"about {words[0]} and {words[1]}", f"my {words[2]}", (1,) * SIZE, "2024-05-06T07:08:09"),)
    who = Persona("ann", ugc, person((0, 1), (1, 0)).pairs, demo=f"{words[3]} {words[4]} {words[5]}")
    text = LEARNED.state("ann", LEARNED.tally(who)).to_json()
    for word in [*words, "about", "prompt", "comment", "this", "that", "2024-05-06"]:
        assert word not in text, word
    assert len(items_of(who, SIZE)) == 2
    assert json.loads(text)["n_items"] == 2


@pytest.fixture
def state():
    return LEARNED.state("ann", LEARNED.tally(person((1,), (0, -1))))


def changed(state, **payload):
    return replace(state, payload={**state.payload, **payload})


def test_states_that_do_not_fit_are_refused(state):
    for wrong, message in [
        (changed(state, layout=0), r"'ann' has layout 0; this version reads layout 1: infer it again"),
        (replace(state, payload={"some": "thing"}), r"'ann' has layout None.*infer it again"),
        (changed(state, size=7), r"'ann' is of 7 dimensions.*the inferrer has 6.*infer it again"),
        (changed(state, sources=["ugc"]), r"'ann' is of 6 dimensions and sources \['ugc'\].*infer it again"),
        (replace(state, method="vote"), r"'vote', user 'ann', was given to 'posterior'"),
    ]:
        with pytest.raises(DataError, match=message):
            LEARNED.resume(wrong)


@pytest.mark.parametrize(
    "items", [None, [], {"a": [0]}, {"a": [9, None, [], []]}, {"a": [0, None, [6], []]}, {"a": ["ugc", None, [], []]}]
)
def test_a_broken_state_is_refused(state, items):
    with pytest.raises(DataError, match=r"'ann' does not hold a tally's items"):
        read_tally(changed(state, items=items), SIZE, LEARNED.sources, None)


def test_the_inferrer_counts_the_sources_of_its_config():
    assert LEARNED.sources[:2] == SOURCES
    assert LEARNED.sources[-1] == "other"
    found = LEARNED.tally(person((1,), (0, -1))).counts
    assert found.totals[0, :2].tolist() == [1, 1]
    assert found.totals.sum() == 2
