import pytest

from persona_rm.serving.labels import Label, read_label


@pytest.mark.parametrize(
    ("value", "label"),
    [
        ("u1", Label("u1")),
        ({"user": "u1"}, Label("u1")),
        ({"user": "u1", "answer": 42}, Label("u1")),
        ({"user": "u1", "prompt": "Hi"}, Label("u1", "Hi")),
        ('{"user": "u1"}', Label("u1")),
        (' {"user": "u1", "prompt": "Hi"}', Label("u1", "Hi")),
        ('"u1"', Label("u1")),
        ("17", Label("17")),
        ("", Label()),
        (None, Label()),
        ({}, Label()),
        ({"user": None}, Label()),
        ({"user": ""}, Label()),
        ({"answer": 42}, Label()),
        ("{}", Label()),
    ],
)
def test_what_a_label_may_be(value, label):
    assert read_label(value) == label


JUNK = [
    *(["u1"], 3, 1.5, True),
    *({"user": 3}, {"user": ["u1"]}, {"user": {"id": 1}}, {"user": "u", "prompt": 3}),
    *('{"user": ', "[1, 2]", '"broken', "{'user': 'u1'}"),
]


@pytest.mark.parametrize("value", JUNK)
def test_junk_is_nobody_and_says_what_was_found(value):
    label = read_label(value)
    assert label.user is None
    assert label.bad
    assert len(label.bad) < 300


def test_a_bad_label_is_told_without_a_word_of_it():
    for value in ('{"user": "secret', ["secret"], {"user": ["secret"]}, {"user": "u", "prompt": {"secret": 1}}):
        assert "secret" not in read_label(value).bad
