"""Items: the same text is the same item, dates are dates, and bad votes name user and item."""

import time
from datetime import UTC, datetime

import pytest

from persona_rm.errors import DataError
from persona_rm.inferrers.evidence import STRONGEST, bare_item, behind, check_votes, distinct, items_of
from persona_rm.types import Pair, Persona, Ugc
from tests.inferrers.inferrer_samples import item


def test_ugc_first_and_repeated_items_too():
    ugc = (Ugc("p", "one", (1, 0), "2024-01-01"), Ugc("p", "one", (1, 0)))
    found = items_of(Persona("ann", ugc, (Pair("p", "a", "b", (0, -1), "2024-02-01"),)), 2)
    assert [(i.source, i.votes, i.created) for i in found] == [
        ("ugc", (1, 0), "2024-01-01"), ("ugc", (1, 0), None), ("pair", (0, -1), "2024-02-01"),
    ]  # fmt: skip
    assert found[0].id == found[1].id != found[2].id
    assert [i.id for i in distinct(found)] == [found[0].id, found[2].id]
    assert distinct(found)[0] is found[0]


def test_an_id_says_what_was_said_by_whom_does_not_matter():
    def id_of(given):
        ugc, pairs = ((given,), ()) if isinstance(given, Ugc) else ((), (given,))
        return items_of(Persona("ann", ugc, pairs), 1)[0].id

    ugc, pair = Ugc("p", "text", (1,)), Pair("p", "a", "b", (1,))
    assert id_of(ugc) == items_of(Persona("bob", (ugc,)), 1)[0].id
    others = [Ugc("q", "text", (1,)), Ugc("p", "other", (1,)), pair, Pair("p", "b", "a", (1,)), Pair("p", "text", "")]
    others[-1] = Pair("p", "text", "", (1,))
    assert len({id_of(one) for one in (ugc, *others)}) == 6


def test_a_bare_item_has_the_id_of_the_evidence_and_no_votes():
    who = Persona("ann", (Ugc("p", "text", (1,), "2024-01-01"),), (Pair("p", "a", "b", (1,)),))
    pairs = list(zip(map(bare_item, who.items), items_of(who, 1), strict=True))
    assert all((bare.id, bare.source, bare.created) == (full.id, full.source, full.created) for bare, full in pairs)
    assert {bare.votes for bare, _ in pairs} == {()}


def test_an_item_keeps_no_text():
    [found] = items_of(Persona("ann", (Ugc("secret prompt", "secret words", (1,)),)), 1)
    assert "secret" not in repr(found)


@pytest.mark.parametrize("votes", [(1, 0, 0), (1,), (2, 0), (0.5, 0), ()])
def test_wrong_votes_name_user_and_item(votes):
    fine = Ugc("p", "fine", (0, 0))
    with pytest.raises(DataError, match=r"'ann', ugc\[1\].*2 directions"):
        items_of(Persona("ann", (fine, Ugc("p", "c", votes))), 2)
    with pytest.raises(DataError, match=r"'ann', pairs\[0\]"):
        items_of(Persona("ann", (fine,), (Pair("p", "a", "b", votes),)), 2)


def test_missing_votes_say_what_to_do():
    with pytest.raises(DataError, match=r"'ann', pairs\[0\] carries no directions: annotate.*name an annotator"):
        items_of(Persona("ann", (), (Pair("secret", "a", "b"),)), 2)
    assert check_votes([1, -1], "here", 2) == (1, -1)


@pytest.mark.parametrize(
    ("created", "expected"),
    [
        (None, None),
        ("2024-03-01", datetime(2024, 3, 1, tzinfo=UTC)),
        ("2024-03-01T12:30:00", datetime(2024, 3, 1, 12, 30, tzinfo=UTC)),
        ("2024-03-01T12:30:00Z", datetime(2024, 3, 1, 12, 30, tzinfo=UTC)),
        ("2024-03-01T12:30:00+02:00", datetime(2024, 3, 1, 10, 30, tzinfo=UTC)),
        ("1969-12-31T23:59:59Z", datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC)),
    ],
)
def test_dates(created, expected):
    assert item("a", 1, created=created).when == (expected and expected.timestamp())


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a running process cannot be set here")
def test_without_a_zone_utc_is_meant_wherever_it_runs(monkeypatch):
    before = item("a", 1, created="2024-03-01T12:00:00").when
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        assert item("a", 1, created="2024-03-01T12:00:00").when == before
    finally:
        monkeypatch.undo()
        time.tzset()
    assert before == datetime(2024, 3, 1, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize("created", ["yesterday", "", "2024-13-01", "2024-02-30", "1514764800", "01/02/2024"])
def test_what_is_no_date_is_refused(created):
    with pytest.raises(DataError, match="item a: `created` must be ISO 8601"):
        _ = item("a", 1, created=created).when


def test_behind_a_direction_are_those_that_vote_for_it_strongest_first():
    said = [("b", 1, 0.5), ("a", 1, 0.5), ("top", 1, 2.0), ("against", -1, 9.0), ("silent", 0, 9.0), ("dull", 1, 0.0)]
    assert behind(said, 1) == ("top", "a", "b")
    assert behind(said, -1) == ("against",)
    assert behind([(f"{i}", 1, i) for i in range(1, 9)], 1) == ("8", "7", "6", "5", "4")[:STRONGEST]
