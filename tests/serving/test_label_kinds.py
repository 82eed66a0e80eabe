"""K5: labels of other data sets. Which are users, which are none, which are bad, and when that is one error."""

import logging
from typing import Any

import pytest

from persona_rm.serving.label_monitor import LabelMonitor
from persona_rm.serving.labels import LabelPolicy, read_label

LABELS: dict[str, tuple[Any, str | None, bool]] = {
    "whole number": (17, "17", False),
    "whole number of a table with gaps": (17.0, "17", False),
    "object with a number": ({"user": 17}, "17", False),
    "object with user_id": ({"user_id": "u17"}, "u17", False),
    "object as text": ('{"user": "u17", "answer": 4}', "u17", False),
    "null of a program": ("NaN", None, False),
    "object without a user": ({"answer": "42"}, None, True),
    "100,000 brackets": ("[" * 100_000, None, True),
    "half a surrogate pair": ("\ud800", None, True),
    "fraction": (0.5, None, True),
}


@pytest.mark.parametrize("case", LABELS)
def test_a_label_is_a_user_or_none_or_bad(case: str) -> None:
    value, user, bad = LABELS[case]
    label = read_label(value)
    assert (label.user, label.bad is not None) == (user, bad)


@pytest.mark.parametrize("case", [case for case, (_, _, bad) in LABELS.items() if bad])
def test_a_column_of_them_is_one_error(caplog: pytest.LogCaptureFixture, case: str) -> None:
    labels = LabelPolicy(monitor=LabelMonitor(lambda: ["ann"], 10))
    for _ in range(30):
        labels.check_known(labels.request(LABELS[case][0], "p", "r").user, False, "cold")
    assert sum(record.levelno == logging.ERROR for record in caplog.records) == 1
