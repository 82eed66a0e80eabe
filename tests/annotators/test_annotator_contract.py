"""What every annotator owes: levels 1..3 in the order of the comments, one per dimension, the same each time."""

import pytest

from persona_rm.annotators import ANNOTATORS
from persona_rm.annotators.cost import Cost
from persona_rm.backends.base import Backends
from persona_rm.errors import DataError, PersonaRMError, RecipeError, UnknownName
from persona_rm.types import Comment
from tests.annotators.annotator_samples import Flat, Hashed

NOISE = ((0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8))
CASES = [(name, {}) for name in ANNOTATORS.names()] + [
    ("given", {"confusion": NOISE}),
    ("llm", {"form": "json"}),
    ("llm", {"form": "compact"}),
    ("http", {"form": "json", "examples": False}),
]
ASKS_ANOTHER_WAY = [case for case in CASES if case[0] in ("encoder", "llm", "http") or "confusion" in case[1]]


def make(case, space):
    cls = ANNOTATORS.load(case[0])
    return cls(cls.Config(**case[1]), space, Backends(encoder=Flat(), generator=Hashed()))


def label(case):
    return "-".join((case[0], *map(str, case[1].values())))[:20]


@pytest.fixture(params=CASES, ids=label)
def annotator(request, space):
    return make(request.param, space)


def comments(space, n=5):
    return [Comment(f"c{i}", f"text number {i}", levels=(1 + i % 3,) * len(space)) for i in range(n)]


def test_the_name_is_the_name_in_the_table(annotator):
    assert isinstance(annotator, ANNOTATORS.load(annotator.name))


def test_levels_in_range_one_tuple_per_comment(annotator, space):
    levels = annotator.annotate(["p"] * 5, comments(space))
    assert len(levels) == 5
    assert all(isinstance(row, tuple) and len(row) == len(space) and {*row} <= {1, 2, 3} for row in levels)


@pytest.mark.parametrize("variant", [0, 1])
def test_a_reading_has_a_level_and_a_confidence_per_dimension(annotator, space, variant):
    for reading in annotator.read(["p"] * 5, comments(space), variant):
        assert reading.error == ""
        assert reading.cut == 0
        assert {*map(type, reading.levels)} == {int}
        assert {*map(type, reading.confidence)} == {float}
        assert len(reading.levels) == len(reading.confidence) == len(space)
        assert {*reading.levels} <= {1, 2, 3}
        assert all(0 <= sure <= 1 for sure in reading.confidence)


def test_same_again_and_in_any_order(annotator, space):
    forward = annotator.annotate(["p"] * 5, comments(space))
    assert forward == annotator.annotate(["p"] * 5, comments(space))
    assert forward[::-1] == annotator.annotate(["p"] * 5, comments(space)[::-1])


@pytest.mark.parametrize("variant", [0, 1])
def test_a_reading_does_not_depend_on_its_batch(annotator, space, variant):
    whole = annotator.read(["p"] * 5, comments(space), variant)
    alone = [annotator.read(["p"], [comment], variant)[0] for comment in comments(space)]
    assert [reading.levels for reading in whole] == [reading.levels for reading in alone]
    for one, other in zip(whole, alone, strict=True):
        assert one.confidence == pytest.approx(other.confidence, abs=1e-4)


def test_a_comment_without_text_is_neutral_and_the_others_are_read(annotator, space):
    good = comments(space, 3)
    empty = [Comment("empty", text, levels=(2,) * len(space)) for text in ("", " \n")]
    readings = annotator.read(["p"] * 5, [good[0], *empty, *good[1:]])
    assert all(len(reading.confidence) == len(space) for reading in readings)
    if not annotator.config.model_dump().get("confusion"):  # which corrupts the levels that it was given
        assert [{*reading.levels} for reading in readings[1:3]] == [{2}, {2}]
    assert readings[:1] + readings[3:] == annotator.read(["p"] * 3, good)
    assert len(annotator.levels([""], [""])) == 1 if annotator.reads_text else True


def test_a_bad_comment_is_an_error_and_the_others_are_read(space):
    annotator, good = make(("given", {}), space), comments(space, 3)
    readings = annotator.read(["p"] * 4, [good[0], Comment("bad", "t"), *good[1:]])
    assert readings[1].error
    assert readings[1].levels == readings[1].confidence == ()
    assert readings[:1] + readings[2:] == annotator.read(["p"] * 3, good)
    with pytest.raises(DataError, match="comment 'bad' "):
        annotator.annotate(["p"] * 4, [good[0], Comment("bad", "t"), *good[1:]])


@pytest.mark.parametrize("case", ASKS_ANOTHER_WAY, ids=label)
def test_the_variants_are_two_ways_to_ask(case, space):
    annotator = make(case, space)
    first, second = (annotator.read(["p"] * 5, comments(space), variant) for variant in (0, 1))
    assert [r.levels for r in first] != [r.levels for r in second]


@pytest.mark.parametrize("name", ["given", "simulator"])
def test_what_is_exact_has_no_second_opinion(name, space):
    annotator = make((name, {}), space)
    assert annotator.read(["p"] * 5, comments(space), 0) == annotator.read(["p"] * 5, comments(space), 1)


def test_an_unknown_variant_and_a_wrong_number_of_prompts_are_refused(annotator, space):
    with pytest.raises(RecipeError, match="has no variant 2"):
        annotator.read(["p"] * 5, comments(space), 2)
    with pytest.raises(DataError, match="4 prompts for 5 comments"):
        annotator.read(["p"] * 4, comments(space))


def test_nothing_in_nothing_out(annotator):
    assert annotator.annotate([], []) == []
    assert annotator.read([], []) == []
    assert annotator.cost([], []).prompt_tokens == 0


def test_the_cost_is_seconds_and_tokens_where_a_model_is_asked(annotator, space):
    cost = annotator.cost(["p"] * 5, comments(space))
    assert isinstance(cost, Cost)
    assert cost.seconds > 0
    assert (cost.prompt_tokens > 0) == (annotator.name in ("llm", "http"))


@pytest.mark.parametrize("name", ["encoder", "llm", "http"])
def test_without_its_backend_it_says_so(name, space):
    cls = ANNOTATORS.load(name)
    with pytest.raises(PersonaRMError, match=f"annotator {name}.* needs a"):
        cls(cls.Config(), space, Backends()).read(["p"], [Comment("c", "text")])


def test_an_unknown_name_lists_those_that_exist():
    with pytest.raises(UnknownName, match="encoder, given"):
        ANNOTATORS.load("gpt")


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_answer_is_read_as_neutral(annotator, space, text):
    if not annotator.reads_text:
        with pytest.raises(DataError, match="carries no levels"):
            annotator.levels(["p"], [text])
        return
    empty, other = annotator.levels(["p", "p"], [text, "text number 1"])
    assert empty == (2,) * len(space)
    assert [other] == annotator.levels(["p"], ["text number 1"])
