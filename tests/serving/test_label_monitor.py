"""A wrong label column is reported once, with what came and what the bundle has."""

import logging

from persona_rm.serving.label_monitor import LabelMonitor
from persona_rm.serving.labels import LabelPolicy


def policy(window, asked):
    def known():
        asked.append(True)
        return ["ann", "bob", "cem", "dan"]

    return LabelPolicy(monitor=LabelMonitor(known, window))


def errors(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]


def test_nearly_all_labels_without_a_known_user_are_one_error_with_examples(caplog):
    asked = []
    labels = policy(20, asked)
    for number in range(60):
        request = labels.request({"answer": "my secret"} if number % 2 else f"row{'-' * number}7", "p", "r")
        labels.check_known(request.user, number == 5, "cold")
    (message,) = errors(caplog)
    assert "19 of the last 20 labels name no user of the bundle" in message
    assert "'aaa9', a bad label (a label that is an object names its user under 'user' or 'user_id'" in message
    assert "'aaa--9'" in message
    assert "Users of the bundle are of the form: 'aaa' (letters as a, digits as 9)." in message
    assert not [name for name in ("ann", "bob", "cem", "dan", "row") if name in message]
    assert "secret" not in caplog.text
    assert asked == [True]


def test_a_label_column_that_is_missing_is_reported_as_no_user(caplog):
    labels = policy(10, [])
    for _ in range(10):
        labels.check_known(labels.request(None, "p", "r").user, False, "cold")
    assert "Labels were of the form: no user. Users" in errors(caplog)[0]


def test_some_unknown_users_are_no_mistake_and_a_long_id_is_cut(caplog):
    asked = []
    labels = policy(10, asked)
    for number in range(100):
        labels.check_known("zoe", number % 5 == 0, "cold")
    assert not errors(caplog)
    assert not asked
    for _ in range(10):
        labels.check_known("x" * 500, False, "cold")
    assert "a" * 39 + "…" in errors(caplog)[0]
    assert "a" * 41 not in caplog.text
    assert "xx" not in caplog.text
