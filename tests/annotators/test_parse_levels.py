"""From answers to readings: strict, and never a level out of rubbish."""

import json
import math

import pytest

from persona_rm.annotators.parse_levels import NO_CHOICE, NO_JSON, parse, read_listed, read_questions
from persona_rm.backends.base import Generation
from tests.annotators.annotator_samples import said

CODES = {"1": 3, "2": 1, "3": 2}
VALUES = {"3": 3, "1": 1}
SIGNS = {"+": 3, "-": 1}


def test_options_become_levels_with_the_probability_of_the_option():
    lead_in = Generation(" 2", (math.log(0.9), math.log(0.5)), (" ", "2"))
    reading = read_questions([said("1", math.log(0.8)), lead_in, said("3\n")], CODES)
    assert reading.levels == (3, 1, 2)
    assert reading.confidence == pytest.approx((0.8, 0.5, 1.0))


@pytest.mark.parametrize("text", ["", "4", "12", "1.", "High", "(1)", "1 2"])
def test_no_option_no_reading(text):
    reading = read_questions([said("1"), said(text)], CODES)
    assert (reading.levels, reading.error) == ((), NO_CHOICE)


def test_one_failed_dimension_fails_the_comment():
    reading = read_questions([said("1"), Generation(error="the server said HTTP 500")], CODES)
    assert (reading.levels, reading.error) == ((), "got no answer: the server said HTTP 500")
    assert read_listed(Generation(error="x"), "json", VALUES, 3).error == "got no answer: x"


@pytest.mark.parametrize(
    ("form", "text", "levels"),
    [
        ("json", "{}", (2, 2, 2)),
        ("json", '{"1":3}', (3, 2, 2)),
        ("json", ' {"3": 1, "1" : 3}\n', (3, 2, 1)),
        ("compact", "[]", (2, 2, 2)),
        ("compact", "[2, -3]", (2, 3, 1)),
    ],
)
def test_what_is_not_named_cannot_be_reflected(form, text, levels):
    assert read_listed(said(text), form, VALUES if form == "json" else SIGNS, 3).levels == levels


@pytest.mark.parametrize(
    "text",
    ["", "none", "null", "3",
     '"1"', "[1]", "[]", '{"1":3', '{"1":2}', '{"1":4}', '{"1":"3"}', '{"1":true}', '{"1":3.0}',
     '{"1":null}', '{"4":3}', '{"0":3}', '{"01":3}', '{"-1":3}', '{"x":3}', '{"1":3,"1":1}', '{"1":3,"1":3}',
     '{"1":{"1":3}}', '{"1":NaN}', '```json\n{"1":3}\n```', '{"1":3} I think', '{"1":3}{"2":3}', "[" * 50_000,
     '{"\u0661":3}', '{"1":' + "9" * 5000 + "}"],
)  # fmt: skip
def test_rubbish_is_an_error_and_never_a_level(text):
    reading = read_listed(said(text), "json", VALUES, 3)
    assert (reading.levels, reading.confidence, reading.error) == ((), (), NO_JSON)


@pytest.mark.parametrize(
    "text", ["{}", "[0]", "[4]", "[-4]", "[1,1]", "[1,-1]", "[true]", "[1.0]", '["1"]', "[[1]]", "1"]
)
def test_rubbish_in_the_compact_form(text):
    assert read_listed(said(text), "compact", SIGNS, 3).error == NO_JSON


@pytest.mark.parametrize("form", ["json", "compact"])
def test_swapped_codes_are_undone(form):
    text = '{"1":3}' if form == "json" else "[-1]"
    codes = {"1": 3, "3": 1} if form == "json" else {"+": 1, "-": 3}
    assert parse(text, form, codes, 3) == {0: 1 if form == "json" else 3}


def test_confidence_is_of_the_tokens_that_spell_the_entry():
    tokens = ('{"', "1", '":', "3", ',"', "3", '":', "1", "}", "</s>")
    probabilities = (1, 0.5, 1, 0.5, 1, 0.9, 1, 0.9, 1, 1)
    answer = Generation('{"1":3,"3":1}', tuple(map(math.log, probabilities)), tokens)
    found = read_listed(answer, "json", VALUES, 3).confidence
    geometric = math.prod(probabilities) ** 0.1
    assert found == pytest.approx((0.25, geometric, 0.81))
    signed = Generation("[1,-3]", tuple(map(math.log, (1, 0.5, 0.8, 0.5, 1))), ("[", "1", ",-", "3", "]"))
    assert read_listed(signed, "compact", SIGNS, 3).confidence == pytest.approx((0.5, 0.2**0.2, 0.4))


def test_tokens_that_do_not_spell_the_text_give_the_mean_to_all():
    answer = Generation('{"1":3}', (math.log(0.5), math.log(0.5)), ("?", "?"))
    assert read_listed(answer, "json", VALUES, 2).confidence == pytest.approx((0.5, 0.5))


def test_without_log_probs_a_confidence_is_one():
    answer = Generation(json.dumps({"1": 3}))
    assert read_listed(answer, "json", VALUES, 2).confidence == (1.0, 1.0)
