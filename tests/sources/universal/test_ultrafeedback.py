"""UltraFeedback: the highest against the lowest rating per value; ties and N/A are counted."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from persona_rm.errors import DataError
from persona_rm.sources.universal import UNIVERSAL, ValuePair
from persona_rm.sources.universal.ultrafeedback import VALUES, UltraFeedback
from persona_rm.space import PreferenceSpace


def completion(text: str, **ratings: Any) -> dict[str, Any]:
    given = dict.fromkeys(VALUES, "3") | ratings
    return {
        "response": text,
        "annotations": {key: {"Rating": value, "Rationale": "r"} for key, value in given.items()},
    }


def row(prompt: str, *completions: dict[str, Any]) -> dict[str, Any]:
    return {"source": "sharegpt", "instruction": prompt, "completions": list(completions)}


def read(path: Path, *rows: Any, **config: Any) -> tuple[list[ValuePair], list[DataError], UltraFeedback]:
    path.write_bytes(b"\n".join(given if isinstance(given, bytes) else json.dumps(given).encode() for given in rows))
    return again(path, **config)


def again(path: Path, **config: Any) -> tuple[list[ValuePair], list[DataError], UltraFeedback]:
    bad: list[DataError] = []
    source = UltraFeedback(UltraFeedback.Config(path=str(path), **config))
    return list(source.pairs(bad.append)), bad, source


def test_each_value_gives_the_highest_against_the_lowest(tmp_path: Path) -> None:
    low = completion("low", helpfulness="1", honesty="5")
    middle = completion("middle", helpfulness="2", truthfulness="N/A")
    high = completion("high", helpfulness="5", honesty="2", truthfulness="N/A")
    found, bad, source = read(tmp_path / "a.jsonl", row("P", low, middle, high))
    assert [(p.dimension, p.chosen, p.rejected, p.direction) for p in found] == [
        ("helpfulness", "high", "low", 1),
        ("honesty", "low", "high", 1),
    ]
    assert {(p.source, p.prompt) for p in found} == {("ultrafeedback", "P")}
    counted = {"instruction_following: tie": 1, "truthfulness: N/A": 2, "truthfulness: fewer than two ratings": 1}
    assert (dict(source.skipped), bad) == (counted, [])


def test_min_gap_is_the_smallest_difference(tmp_path: Path) -> None:
    given = row("P", completion("a", helpfulness="2"), completion("b", helpfulness="3", honesty="1"))
    found, _, source = read(tmp_path / "a.jsonl", given, min_gap=2)
    assert [p.dimension for p in found] == ["honesty"]
    assert source.skipped["helpfulness: smaller difference than min_gap"] == 1


def test_missing_annotations_are_not_ratings_and_the_same_text_is_no_pair(tmp_path: Path) -> None:
    bare = {"response": "x", "annotations": {"helpfulness": {"Rating": 1}, "honesty": None}}
    found, bad, source = read(tmp_path / "a.jsonl", row("P", bare, completion("x "), completion("y")), row("Q"))
    assert (found, bad) == ([], [])
    assert source.skipped["helpfulness: same text"] == 1
    assert source.skipped["honesty: N/A"] == 1


@pytest.mark.parametrize(
    ("bad_row", "problem", "key"),
    [
        (b'{"instruction": "P", "compl', "not JSON", None),
        (b'{"instruction": "\xe9", "completions": []}', "not UTF-8", "instruction"),
        ({"completions": []}, "missing", "instruction"),
        (row("P", {"response": "a"}), "missing; the row has: response", "completions[0].annotations"),
        (row("P", completion("a", honesty="good")), "whole number", "completions[0].annotations.honesty.Rating"),
        (row("P", completion("a"), {"annotations": {}}), "missing", "completions[1].response"),
    ],
)
def test_a_bad_row_is_named_and_the_others_stay(tmp_path: Path, bad_row: Any, problem: str, key: str | None) -> None:
    good = [row(prompt, completion("a"), completion("b", honesty="5")) for prompt in ("P1", "P2")]
    found, bad, _ = read(tmp_path / "a.jsonl", good[0], bad_row, good[1])
    assert [pair.prompt for pair in found] == ["P1", "P2"]
    assert [(error.file, error.row, error.key) for error in bad] == [(str(tmp_path / "a.jsonl"), 2, key)]
    assert problem in str(bad[0])


def test_a_pair_that_comes_twice_is_named(tmp_path: Path) -> None:
    given = row("P", completion("a"), completion("b", honesty="5"))
    found, bad, _ = read(tmp_path / "a.jsonl", given, row("Q"), given)
    assert len(found) == 1
    assert [(error.row, error.key) for error in bad] == [(3, "prompt")]
    assert "read before" in str(bad[0])


def test_several_files_in_all_formats_and_a_broken_one(tmp_path: Path) -> None:
    given = [row(f"P{n}", completion("a"), completion("b", honesty="5")) for n in range(4)]
    (tmp_path / "1.json").write_text(json.dumps(given[:1]))
    (tmp_path / "2.jsonl.gz").write_bytes(gzip.compress(json.dumps(given[1]).encode()))
    (tmp_path / "3.jsonl.gz").write_bytes(b"not gzip")
    (tmp_path / "4.jsonl").touch()
    pq.write_table(pa.Table.from_pylist(given[2:]), tmp_path / "5.parquet")
    found, bad, source = again(tmp_path)
    assert [pair.prompt for pair in found] == ["P0", "P1", "P2", "P3"]
    assert [(error.file, error.row) for error in bad] == [(tmp_path / "3.jsonl.gz", 1), (tmp_path / "4.jsonl", 1)]
    assert [file.name[0] for file in source.files()] == ["1", "2", "3", "4", "5"]
    assert len(again(tmp_path, limit=2)[0]) == 2
    assert source.fingerprint() != again(tmp_path, min_gap=2)[2].fingerprint()
    with pytest.raises(DataError, match=r"none\.jsonl: no such file"):
        again(tmp_path / "none.jsonl")


def test_every_value_of_every_set_is_a_dimension_of_the_space(space: PreferenceSpace) -> None:
    from persona_rm.sources.universal import helpsteer2, pku_saferlhf

    values = [*VALUES.values(), *helpsteer2.VALUES.values(), pku_saferlhf.HARMLESS]
    assert {value.dimension for value in values} <= {dimension.id for dimension in space.dimensions}
    assert {value.direction for value in values} == {1, -1}
    assert UNIVERSAL.names() == ["helpsteer2", "pku_saferlhf", "ultrafeedback"]
    assert all(UNIVERSAL.load(name).name == name for name in UNIVERSAL.names())
