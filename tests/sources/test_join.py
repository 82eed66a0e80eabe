"""The external join: the same groups for any number of buckets and any order, and few rows in memory."""

import random
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from persona_rm.errors import DataError
from persona_rm.io.json_rows import JsonRow
from persona_rm.sources import join as module
from persona_rm.sources.join import Group, JoinConfig, Placed, join


def place(row: JsonRow) -> Placed | None:
    key = row.text("key")
    return None if key == "unwanted" else Placed(key, row.text("kind"), {"n": row.required("n", int), "key": key})


def row(number: int, key: str, kind: str = "a", file: str = "f") -> JsonRow:
    return JsonRow({"key": key, "kind": kind, "n": number, "more": "x" * 99}, file, number)


def rows(count: int, keys: int) -> list[JsonRow]:
    return [row(n, f"k{n % keys}", "ab"[n % 2], f"file {n % 3}") for n in range(1, count + 1)]


def groups(given: list[JsonRow], **config: int | str) -> list[Group]:
    return list(join(given, place, JoinConfig(**config), pytest.fail))


def test_rows_of_one_key_come_together_by_kind_and_in_order() -> None:
    found = groups([row(1, "x"), row(2, "y", "b"), row(3, "x"), row(4, "x", "b", "g"), row(5, "unwanted")])
    assert len(found) == 2
    group = next(group for group in found if "a" in group)
    assert [(r.number, r.file, r.data) for r in group["a"]] == [
        (1, "f", {"n": 1, "key": "x"}),
        (3, "f", {"n": 3, "key": "x"}),
    ]
    assert [(r.number, r.file) for r in group["b"]] == [(4, "g")]


def test_any_number_of_buckets_gives_the_same_groups_in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    given = rows(3000, 700)
    expected = groups(given, buckets=1)
    assert len(expected) == 700
    monkeypatch.setattr(module, "BUFFER", 1000)
    for buckets in (2, 7, 64, 5000):
        assert groups(given, buckets=buckets) == expected


def test_the_order_of_the_input_moves_no_group(monkeypatch: pytest.MonkeyPatch) -> None:
    given = rows(900, 300)
    mixed = random.Random(0).sample(given, len(given))

    def keys(found: list[Group]) -> list[str]:
        return [next(iter(group.values()))[0].data["key"] for group in found]

    assert keys(groups(mixed)) == keys(groups(given))


def test_keys_and_texts_of_any_kind_come_back(tmp_path: Path) -> None:
    keys = ["", "two\nlines", "\u2028", "caf\u00e9", "\udcff half", '"quoted"', "x" * 100_000]
    found = [group["a"][0].data["key"] for group in join(rows_of(keys), placed_as_is, JoinConfig(), pytest.fail)]
    assert sorted(found) == sorted(keys)


def rows_of(keys: list[str]) -> Iterator[JsonRow]:
    return (JsonRow({"key": key}, "f", number) for number, key in enumerate(keys, start=1))


def placed_as_is(row: JsonRow) -> Placed:
    return Placed(row.data["key"], "a", dict(row.data))


def test_memory_is_bounded_by_a_bucket_and_the_buffer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUFFER", 50_000)
    text, count = "x" * 5000, 6000

    def many() -> Iterator[JsonRow]:
        return (JsonRow({"key": str(n % 2000), "text": text}, "f", n) for n in range(count))

    tracemalloc.start()
    seen = sum(len(group["a"]) for group in join(many(), placed_as_is, JoinConfig(buckets=100), pytest.fail))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seen == count
    assert peak < count * len(text) / 5


def test_bad_rows_are_handed_over_and_the_folder_is_left_empty(tmp_path: Path) -> None:
    bad: list[DataError] = []
    found = join(
        [row(1, "x"), JsonRow({"kind": "a"}, "f", 2), row(3, "y")],
        place,
        JoinConfig(scratch=str(tmp_path)),
        bad.append,
    )
    assert next(found)
    assert list(tmp_path.iterdir())
    assert next(found)
    assert list(found) == []
    assert list(tmp_path.iterdir()) == []
    assert [(error.file, error.row, error.key) for error in bad] == [("f", 2, "key")]


def test_who_stops_early_leaves_no_files(tmp_path: Path) -> None:
    found = join(rows(50, 20), place, JoinConfig(scratch=str(tmp_path)), pytest.fail)
    next(found)
    found.close()
    assert list(tmp_path.iterdir()) == []
