import pytest

from persona_rm.errors import HostError
from persona_rm.serving.labels import Label, LabelError, LabelPolicy, read_label


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
        (17, Label("17")),
        ({"user": 17}, Label("17")),
        ('{"user": 17}', Label("17")),
        (17.0, Label("17")),
        ('{"user": 17.0}', Label("17")),
        (float("nan"), Label()),
        ("NaN", Label()),
        ({"user": "\u200b"}, Label()),
        ({"user": "<NA>", "user_id": 17}, Label("17")),
        ({"user_id": "u17"}, Label("u17")),
        ({"user_id": 17, "prompt": "Hi"}, Label("17", "Hi")),
        ({"user": None, "user_id": "u1"}, Label("u1")),
        ({"user": "u1", "user_id": "u1"}, Label("u1")),
        ({"user_id": None}, Label()),
        ("", Label()),
        (None, Label()),
        ({}, Label()),
        ({"user": None}, Label()),
        ({"user": ""}, Label()),
        ({"user": None, "answer": 42}, Label()),
        ("{}", Label()),
    ],
)
def test_what_a_label_may_be(value, label):
    assert read_label(value) == label


JUNK = [
    *(["u1"], 1.5, True, '"\\ud800"'),
    *({"usr": "u1"}, {"answer": 42}, {"prompt": "Hi"}, '{"usr": "u1"}'),
    *({"user": 3.5}, {"user": True}, {"user": ["u1"]}, {"user": {"id": 1}}, {"user": "u", "prompt": 3}),
    {"user": "u1", "user_id": "u2"},
    *('{"user": ', "[1, 2]", '"broken', "{'user': 'u1'}"),
]


@pytest.mark.parametrize("value", JUNK)
def test_junk_is_nobody_and_says_what_was_found(value):
    label = read_label(value)
    assert label.user is None
    assert label.bad
    assert len(label.bad) < 300


def test_labels_that_python_cannot_read_or_write_are_bad_and_no_exception():
    deep, huge = "[" * 100_000, 10**5000
    halves = ("\ud800", {"user": "a\udcff"}, {"user": "u", "prompt": "\ud800"}, '{"user": "\\udcff"}')
    for value in (deep, '{"user": ' * 100_000, huge, {"user": huge}, '{"user": 1' + "0" * 5000 + "}", *halves):
        label = read_label(value)
        assert label.user is None
        assert label.bad
        assert len(label.bad) < 300
    assert read_label("\ud800").bad.startswith("the user id of a label holds half of a surrogate pair")


def test_a_bad_label_is_told_without_a_word_of_it():
    for value in (
        '{"user": "secret',
        ["secret"],
        {"secret": "secret"},
        {"user": ["secret"]},
        {"user": "u", "prompt": {"secret": 1}},
    ):
        assert "secret" not in read_label(value).bad


def test_the_request_of_a_label():
    request = LabelPolicy().request({"user": "u1", "prompt": "bare"}, "dressed bare", "Yes.", finished=False)
    assert (request.user, request.prompt, request.response) == ("u1", "bare", "Yes.")
    assert (request.finished, request.bad_label, request.request_id) == (False, False, "")
    bad = LabelPolicy().request(3.5, "p", "r")
    assert (bad.user, bad.prompt, bad.bad_label, bad.finished) == (None, "p", True, True)


@pytest.mark.parametrize("value", [None, "", {}, *JUNK])
def test_the_strict_policy_refuses_a_label_without_a_user(value):
    assert LabelPolicy().request(value, "p", "r").user is None
    with pytest.raises(LabelError, match="PERSONA_RM_LABELS=strict, and this sample has no user"):
        LabelPolicy(strict=True).request(value, "p", "r")


def test_the_strict_policy_refuses_a_user_that_the_bundle_does_not_know_and_its_reason_names_no_user():
    LabelPolicy().check_known("zoe", False, "cold")
    strict = LabelPolicy(strict=True)
    strict.check_known("ann", True, "ok")
    with pytest.raises(LabelError, match=r"does not know this user: 'zoe' \(erased\)") as caught:
        strict.check_known("zoe", False, "erased")
    assert caught.value.reason == "PERSONA_RM_LABELS=strict, and the bundle does not know this user"


def test_the_environment_names_the_policy():
    assert LabelPolicy.from_env({}) == LabelPolicy.from_env({"PERSONA_RM_LABELS": "prior"}) == LabelPolicy()
    assert LabelPolicy.from_env({"PERSONA_RM_LABELS": "strict"}).strict
    with pytest.raises(HostError, match=r"PERSONA_RM_LABELS is 'loud'; it is one of \['prior', 'strict'\]"):
        LabelPolicy.from_env({"PERSONA_RM_LABELS": "loud"})
    for other in ("Strict", "STRICT", "", " prior"):
        with pytest.raises(HostError, match="one of"):
            LabelPolicy.from_env({"PERSONA_RM_LABELS": other})


def test_a_policy_says_what_it_does():
    assert "PERSONA_RM_LABELS=prior: a sample without a known user gets the population prior" in str(LabelPolicy())
    assert "PERSONA_RM_LABELS=strict: a sample without a known user stops the job" in str(LabelPolicy(strict=True))
