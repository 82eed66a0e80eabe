import pytest

from persona_rm.errors import DataError
from persona_rm.io.text import GAP, fill, is_blank, shorten


def test_fields_are_filled_once_and_braces_in_values_stay():
    assert fill("{post}: {comment}", {"post": "{comment}", "comment": "{}"}) == "{comment}: {}"


def test_an_unknown_field_is_named_with_those_that_there_are():
    with pytest.raises(DataError, match=r"\{colour\}; the fields here are: post, comment"):
        fill("{colour}", {"post": "p", "comment": "c"})


def test_a_short_text_stays_as_it_is():
    assert shorten("abc", 3) == "abc"
    assert shorten("abc", 3, keep_end=False) == "abc"


def test_the_middle_is_left_out_and_more_of_the_beginning_stays():
    short = shorten("b" * 500 + "e" * 500, 100)
    assert len(short) == 100
    head, tail = short.split(GAP)
    assert head == "b" * 62
    assert tail == "e" * 31


@pytest.mark.parametrize(
    ("text", "blank"),
    [
        ("", True), (" \n\t", True), ("\u200b", True), ("\u2800\u2800", True), ("\ufeff \u2060", True),
        ("\u3164", True), ("\x00", True), (".", False), ("\u200ba", False), ("\U0001f375", False), ("\u0645", False),
    ],
)  # fmt: skip
def test_a_text_in_which_a_reader_sees_nothing_is_blank(text, blank):
    assert is_blank(text) is blank


def test_a_label_loses_its_end():
    assert shorten("Questions until the end", 10, keep_end=False) == "Questions…"
