"""`llm` and `reading`: texts become votes by an annotator, in one call, and whatever is wrong names the user."""

import pytest

from persona_rm.backends.base import Backends
from persona_rm.errors import DataError, RecipeError
from persona_rm.inferrers.evidence import items_of
from persona_rm.inferrers.item_reader import annotated_items, demo_item
from persona_rm.types import Pair, Persona, Ugc, content_id
from tests.inferrers.inferrer_samples import make, toy_space

SPACE = toy_space(3)
LEVELS = {"up": (3, 2, 1), "down": (1, 2, 3), "flat": (2, 2, 2), "about": (3, 3, 3), "": (2, 2, 2)}


class Reader:
    """Knows a handful of texts, and keeps what it was asked, call by call."""

    def __init__(self, levels=LEVELS):
        self.known, self.calls = levels, []

    def levels(self, prompts, texts):
        self.calls.append(list(zip(prompts, texts, strict=True)))
        return [self.known[text] for text in texts]


class Fixed:
    """Answers the same whatever is asked."""

    def __init__(self, answer):
        self.answer = answer

    def levels(self, prompts, texts):
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


@pytest.fixture
def reader():
    return Reader()


def test_signs_are_those_of_the_paper(reader):
    who = Persona("ann", (Ugc("p", "up"), Ugc("p", "down")), (Pair("p", "up", "down"), Pair("p", "flat", "up")))
    found = annotated_items(who, SPACE, reader)
    assert [one.votes for one in found] == [(1, 0, -1), (-1, 0, 1), (1, 0, -1), (-1, 0, 1)]
    assert [one.source for one in found] == ["ugc", "ugc", "pair", "pair"]


def test_ids_and_dates_are_those_of_annotated_evidence(reader):
    bare = Persona("ann", (Ugc("p", "up", None, "2024-01-02"),), (Pair("p", "up", "down"),))
    told = Persona("ann", (Ugc("p", "up", (1, 0, -1), "2024-01-02"),), (Pair("p", "up", "down", (1, 0, -1)),))
    assert annotated_items(bare, SPACE, reader) == items_of(told, 3)


def test_all_texts_in_one_call_and_each_once(reader):
    who = Persona("ann", (Ugc("p", "up"), Ugc("p", "up"), Ugc("q", "up")), (Pair("p", "up", "flat"),), "about")
    found = annotated_items(who, SPACE, reader, demo=True)
    assert len(found) == 5
    assert reader.calls == [[("p", "up"), ("q", "up"), ("p", "flat"), ("", "about")]]


def test_directions_that_are_there_are_kept_unless_again(reader):
    who = Persona("ann", (Ugc("p", "up", (-1, -1, -1)), Ugc("p", "down")))
    assert [one.votes for one in annotated_items(who, SPACE, reader)] == [(-1, -1, -1), (-1, 0, 1)]
    assert reader.calls == [[("p", "down")]]
    assert annotated_items(who, SPACE, reader, again=True)[0].votes == (1, 0, -1)


def test_nothing_missing_asks_nobody(reader):
    assert annotated_items(Persona("ann", (Ugc("p", "up", (0, 0, 1)),)), SPACE, reader)[0].votes == (0, 0, 1)
    assert annotated_items(Persona("ann"), SPACE, reader) == []
    assert reader.calls == []


def test_demographic_text_is_an_item(reader):
    found = demo_item(Persona("ann", demo="about"), SPACE, reader)
    assert (found.id, found.source, found.votes) == (content_id("demo", "about"), "demo", (1, 1, 1))
    assert demo_item(Persona("ann", demo=" "), SPACE, reader) is None
    assert len(reader.calls) == 1


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        ([], r"user 'ann': .* asked about 1 texts and answered 0"),
        ([(2, 2, 2)] * 2, "answered 2"),
        ([(2, 2)], "'ann': the annotator owes 3 levels .* found 2 levels"),
        ([(2, 2, 4)], r"'ann': .* values \[4\]"),
        ([(2, 0, 2)], r"'ann': .* values \[0\]"),
        (DataError("comment '0' got no answer"), "user 'ann': the annotator failed at one of 1 texts: comment '0'"),
    ],
)
def test_a_reader_that_fails_is_told_of_with_the_user(answer, match):
    with pytest.raises(DataError, match=match) as caught:
        annotated_items(Persona("ann", (Ugc("secret", "secret"),)), SPACE, Fixed(answer))
    assert "secret" not in str(caught.value)


def test_a_tie_votes_for_no_pole(reader):
    pairs = Pair("p", "up", "down"), Pair("p", "up", "down", strength=0.0)
    items = annotated_items(Persona("ann", (), pairs), SPACE, reader)
    assert any(items[0].votes)
    assert not any(items[1].votes)


def test_directions_of_another_space_are_refused(reader):
    with pytest.raises(DataError, match=r"user 'ann', ugc\[0\] needs 3 directions"):
        annotated_items(Persona("ann", (Ugc("p", "up", (1,)),)), SPACE, reader)


def test_it_votes_by_the_papers_rule(reader):
    texts, backends = ("up", "up", "down", "flat"), Backends(reader=reader)
    bare = Persona("ann", tuple(Ugc(f"p{i}", text) for i, text in enumerate(texts)))
    told = Persona("ann", tuple(Ugc(f"p{i}", t, tuple(x - 2 for x in LEVELS[t])) for i, t in enumerate(texts)))
    for config in ({}, {"positive": 0.9, "negative": 0.1}, {"positive": 0.9, "negative": 0.1, "force": True}):
        assert make("llm", SPACE, backends, **config).infer(bare) == make("vote", SPACE, **config).infer(told)


def test_the_demographic_text_votes_too_unless_it_is_left_out(reader):
    who, backends = Persona("ann", (Ugc("p", "flat"),), demo="about"), Backends(reader=reader)
    assert make("llm", SPACE, backends).infer(who).directions == (1, 1, 1)
    assert make("llm", SPACE, backends, demo=False).infer(who).directions == (0, 0, 0)


def test_without_an_annotator_it_says_so():
    with pytest.raises(RecipeError, match="inferrer llm needs an annotator"):
        make("llm", SPACE, Backends()).infer(Persona("ann", (Ugc("p", "up"),)))
