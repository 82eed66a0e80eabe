"""One reading of user ids, for every reader: users files, labels, preference data, prompts and HTTP calls."""

import math

import pytest

from persona_rm.errors import DataError
from persona_rm.io.json_rows import JsonRow
from persona_rm.io.user_ids import near_user, need_user, read_user_id, user_at


@pytest.mark.parametrize(
    ("value", "user"),
    [
        ("ann", "ann"), (" ann ", " ann "), (17, "17"), (17.0, "17"), (0, "0"), (-3, "-3"), (2**127, str(2**127)),
        (-0.0, "0"), ("0", "0"), ("Nadia", "Nadia"), ("none of us", "none of us"), ("[ann]", "[ann]"),
        ("deleted", "deleted"),
    ],
)  # fmt: skip
def test_an_id_is_text_or_a_whole_number_however_it_is_written(value: object, user: str) -> None:
    assert read_user_id(value) == user


@pytest.mark.parametrize(
    "value",
    [
        *(None, math.nan, "", "  ", "\n", "\u200b", "\ufeff", "\u2800", "\u00a0\u200d"),
        *("null", "NaN", "NaT", " None ", "nil", "N/A", "na", "<NA>", "#N/A", "undefined", "(null)"),
        *("[deleted]", "[removed]", "[Deleted User]", "[ deleted user ]", "<deleted-account>"),
    ],
)
def test_what_other_programs_write_for_a_missing_user_is_no_id(value: object) -> None:
    assert read_user_id(value) is None


@pytest.mark.parametrize("value", [1.5, True, math.inf, 2.0**60, 2**128, b"ann", ["ann"], {"user": "ann"}, 1j])
def test_anything_else_is_refused_without_the_value(value: object) -> None:
    with pytest.raises(DataError) as raised:
        read_user_id(value)
    assert "ann" not in raised.value.problem
    assert len(raised.value.problem) < 200


def test_an_id_that_would_fill_memory_is_refused() -> None:
    assert read_user_id("x" * 1024) == "x" * 1024
    for text in ("x" * 1025, " " * 10_000_000):
        with pytest.raises(DataError, match="a user id has at most 1,024 characters, found 1"):
            read_user_id(text)


def test_whole_numbers_of_numpy_are_ids() -> None:
    numpy = pytest.importorskip("numpy")
    assert read_user_id(numpy.int64(5)) == "5"
    assert type(read_user_id(numpy.str_("ann"))) is str
    with pytest.raises(DataError):
        read_user_id(numpy.bool_(True))


def test_the_user_of_a_row_is_named_by_file_row_and_key() -> None:
    row = JsonRow({"user": "#N/A", "id": 4.5, "prompt": "p", "gap": None}, "prefs.jsonl", 3)
    assert user_at(row, "user") is None
    with pytest.raises(DataError, match=r"prefs.jsonl, row 3, key 'user': the user is missing, found '#N/A'"):
        need_user(row, "user")
    with pytest.raises(DataError, match=r"row 3, key 'who': the user is missing, the row has: user, id, prompt;"):
        need_user(row, "who")
    with pytest.raises(DataError, match=r"key 'id': a user is text or a whole number, found float 4\.5"):
        need_user(row, "id")


def test_the_id_that_was_probably_meant() -> None:
    ids = ["ann", "bob", "caf\u00e9"]
    for user in ("Ann", " ann", "ANN\u200b", "\uff41nn", "anne"):
        assert near_user(user, ids) == "; did you mean 'ann'?"
    assert near_user("cafe\u0301", ids) == "; did you mean 'caf\u00e9'?"
    assert near_user("zoe", ids) == ""
