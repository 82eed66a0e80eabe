"""The values of a JSON text are counted without parsing it, and never too few."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persona_rm.serving.http.http_errors import RequestError
from persona_rm.serving.http.json_size import check_values, json_values

MANY = 10**9
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text('"\\,:[]{}aé\n'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text('"\\,:[]{}aé'), inner),
    max_leaves=40,
)


def size(value):
    """Values and keys."""
    if isinstance(value, list):
        return 1 + sum(map(size, value))
    if isinstance(value, dict):
        return 1 + sum(1 + size(inner) for inner in value.values())
    return 1


@given(VALUES, st.booleans())
def test_no_value_is_missed_whatever_the_texts_hold(value, ascii_only):
    body = json.dumps(value, ensure_ascii=ascii_only).encode()
    assert size(value) <= json_values(body, MANY) <= 2 * size(value) + 1
    assert size(value) <= json_values(bytearray(body), MANY)


@pytest.mark.parametrize(
    "part",
    ["[],", "{},", "0,", '"",', '{"a":[', '"\\\\",[],', '"\\"",[],', '"\\\\\\\\",', "[ ] ,", '"a":1,'],
)
def test_sixteen_megabytes_of_small_values_are_refused_at_once(part):
    body = b'{"prompt":"x","responses":[' + part.encode() * ((16 << 20) // len(part))
    started = time.process_time()
    with pytest.raises(RequestError, match="JSON values or more, and the limit is 32,768: send fewer rows at once"):
        check_values(body, 32_768)
    assert time.process_time() - started < 2, "parsing it takes four times as long, and gigabytes"


@pytest.mark.parametrize("text", ["word, " * 500_000, "\\" * 500_000, '"[],' * 500_000, "é" * 500_000])
def test_one_long_text_is_no_problem(text):
    for ascii_only in (True, False):
        check_values(json.dumps({"prompt": "x", "responses": [text]}, ensure_ascii=ascii_only).encode(), 100)


def test_other_encodings_do_not_hide_values():
    for encoding in ("utf-16", "utf-32", "utf-16-be"):
        with pytest.raises(RequestError, match="no JSON in UTF-8"):
            check_values(json.dumps([[]] * 50_000).encode(encoding), 100)
