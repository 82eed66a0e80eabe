"""The rules of Algorithm 1, on rows small enough to see the answer."""

import pytest

from persona_rm.construct.pairing.rules import consistent, contrast, demo, lone, majority
from persona_rm.errors import DataError


def test_directions():
    assert contrast((3, 2, 1, 2), (1, 2, 3, 1)) == (1, 0, -1, 1)
    assert lone((1, 2, 3)) == (-1, 0, 1)


def test_majority():
    assert majority([(1, 0, -1), (1, 0, 1), (0, -1, -1)]) == (1, 0, -1)
    assert majority([(1, -1), (-1, 0)]) == (0, 0)
    with pytest.raises(DataError, match="at least one vote"):
        majority([])


def test_consistent_dimensions():
    assert consistent((1, -1, 0, 1), [(1, -1, 0, 0), (1, 1, 0, 1)]) == [0]
    assert consistent((0, 1), [(0, -1)]) == []
    assert consistent((0, 1), []) == [1]


def test_demo_text(space):
    ways = dict.fromkeys(space.ids, 0) | {"extraversion": 1, "likes_sports": 1, "need_order": -1}
    text = demo(tuple(ways.values()), space)
    assert text == "A person who is outgoing and likes sports, but does not mind disorder."
    only = demo(tuple((dict.fromkeys(space.ids, 0) | {"need_order": -1}).values()), space)
    assert only == "A person who does not mind disorder."
