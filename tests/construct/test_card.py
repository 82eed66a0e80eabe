"""The data card's figures on rows where they are known."""

import pytest

from persona_rm.construct import card
from persona_rm.construct.steps import Drop
from persona_rm.errors import DataError
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment, Example, Persona, Thread, Ugc


@pytest.fixture
def two(space):
    return PreferenceSpace("two", space.dimensions[:2])


def thread(*levels):
    return Thread("t", "s", "p", tuple(Comment(str(i), "text", levels=row) for i, row in enumerate(levels)))


def test_reasons_are_counted_by_kind():
    drops = [Drop("post", "a", "x"), Drop("post", "b", "y"), Drop("post", "c", "y"), Drop("pair", "d", "x")]
    assert card.reasons(drops) == {"post": {"y": 2, "x": 1}, "pair": {"x": 1}}


def test_level_shares(two):
    found = card.levels([thread((1, 2), (2, 2)), thread((3, 2), (3, 1))], two)
    assert found["shares"] == {"low": 0.25, "none": 0.5, "high": 0.25}
    assert list(found["read_by_dimension"].items()) == [(two.ids[0], 0.75), (two.ids[1], 0.25)]


def test_neutral_levels_match_themselves_but_say_nothing():
    found = card.similarity([thread((2,) * 90)], 55, seed=0)
    assert found["pass_rate"] == 1.0
    assert found["similarity_non_neutral"] == 0.0
    same = card.similarity([thread((2,) * 80 + (3,) * 10)], 55, seed=0)
    assert same["similarity_non_neutral"] == 1.0


def test_figures_of_examples(two):
    items = (Ugc("q", "a", (1, -1)), Ugc("r", "b", (1, 0)), Ugc("s", "c", (1, -1)))
    example = Example("e", "p", "c", "r", (1, 1), Persona("u", ugc=items))
    found = card.examples([example], two)
    assert (found["with_ugc"], found["with_pairs"], found["mean_ugc"], found["mean_non_neutral"]) == (1, 0, 3.0, 2.0)
    assert (found["mean_consistent"], found["mean_majority_same"], found["mean_majority_opposite"]) == (1.0, 1.0, 1.0)
    assert found["by_dimension"][two.ids[1]] == {"positive": 1, "negative": 0}
    assert card.examples([], two)["mean_ugc"] == 0.0


def test_counts_that_do_not_add_up_are_an_error():
    counts = {
        "threads_in": 3,
        "threads_usable": 2,
        "responses_in": 0,
        "responses_usable": 0,
        "pairs": 2,
        "examples": 2,
    }
    with pytest.raises(DataError, match="3 threads_in, 2 threads_usable, 0 dropped"):
        card.balance(counts, {})
    card.balance(counts, {"post": {"empty thread": 1}})
