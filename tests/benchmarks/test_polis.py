"""Polis: an agreed statement is preferred to a disagreed one of the same bucket."""

import json
from pathlib import Path
from typing import Any

import pytest

from persona_rm.benchmarks import BENCHMARKS
from persona_rm.errors import DataError
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comparison

ITEMS = [{"item": f"t{i}", "text": f"text {i}", "prompt": "what?"} for i in range(12)]


def read(path: Path, rows: list[dict[str, Any]], space: PreferenceSpace, **config: int) -> list[Comparison]:
    path.write_text("".join(json.dumps(row) + "\n" for row in [{"meta": {}}, *ITEMS, *rows]))
    cls, checked = BENCHMARKS.member({"name": "polis", "path": str(path), **config})
    comparisons: list[Comparison] = cls(checked, space).comparisons()
    return comparisons


def votes(user: str, agreed: range, disagreed: range) -> list[dict[str, Any]]:
    return [
        {"user": user, "item": f"t{i}", "value": value}
        for side, value in ((agreed, 1), (disagreed, -1.0), (range(10, 12), 0))
        for i in side
    ]


def test_every_vote_is_used_and_buckets_do_not_mix(space: PreferenceSpace, tmp_path: Path) -> None:
    rows = read(tmp_path / "f.jsonl", votes("u", range(7), range(7, 10)), space, buckets=2)
    buckets: dict[str, set[str]] = {}
    for row in rows:
        assert int(row.chosen[5:]) < 7 <= int(row.rejected[5:]) < 10
        buckets.setdefault(row.group, set()).update((row.chosen, row.rejected))
    assert not set.intersection(*buckets.values()) or len(buckets) == 1
    # Votes of a bucket with both kinds are all used.
    assert len(rows) == len(set(rows))


def test_users_with_few_pairs_are_left_out(space: PreferenceSpace, tmp_path: Path) -> None:
    rows = [*votes("u", range(7), range(7, 10)), *votes("v", range(7), range(7, 7))]
    assert {row.user_id for row in read(tmp_path / "f.jsonl", rows, space)} == {"u"}
    assert read(tmp_path / "f.jsonl", rows, space, fewest=100) == []


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        ({"user": "u", "item": "t1", "value": 2}, "must be 1, 0 or -1, found 2"),
        ({"user": "u", "item": "t1", "value": True}, "found True"),
        ({"user": "u", "item": "t99", "value": 1}, "no item 't99'"),
        ({"user": "u", "item": "t0", "value": 1}, "voted on this item before"),
    ],
)
def test_a_bad_row_is_named(row: dict[str, Any], problem: str, space: PreferenceSpace, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=problem):
        read(tmp_path / "f.jsonl", [*votes("u", range(3), range(3, 6)), row], space)


def test_no_votes(space: PreferenceSpace, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no votes"):
        read(tmp_path / "f.jsonl", [], space)
