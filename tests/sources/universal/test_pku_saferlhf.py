"""PKU-SafeRLHF: the safer response is chosen; judgements that contradict each other are bad rows."""

import json
from pathlib import Path
from typing import Any

import pytest

from persona_rm.errors import DataError
from persona_rm.sources.universal import ValuePair
from persona_rm.sources.universal.pku_saferlhf import PkuSafeRlhf


def row(prompt: str, safe: tuple[Any, Any], safer: Any, better: int = 0) -> dict[str, Any]:
    given = {"prompt": prompt, "response_0": "zero", "response_1": "one", "better_response_id": better}
    return given | {"is_response_0_safe": safe[0], "is_response_1_safe": safe[1], "safer_response_id": safer}


def read(path: Path, *rows: Any, **config: Any) -> tuple[list[ValuePair], list[DataError], PkuSafeRlhf]:
    path.write_bytes(b"\n".join(given if isinstance(given, bytes) else json.dumps(given).encode() for given in rows))
    bad: list[DataError] = []
    source = PkuSafeRlhf(PkuSafeRlhf.Config(path=str(path), **config))
    return list(source.pairs(bad.append)), bad, source


def test_the_safer_response_is_chosen(tmp_path: Path) -> None:
    rows = (row("P", (True, False), 0, better=1), row("Q", (False, True), 1), row("R", (False, False), 1))
    found, bad, _ = read(tmp_path / "a.jsonl", *rows)
    assert [(p.prompt, p.chosen, p.rejected) for p in found] == [
        ("P", "zero", "one"),
        ("Q", "one", "zero"),
        ("R", "one", "zero"),
    ]
    assert {(p.dimension, p.direction, p.source) for p in found} == {("harmlessness", 1, "pku_saferlhf")}
    assert bad == []


def test_min_gap_1_takes_safe_against_unsafe_only(tmp_path: Path) -> None:
    rows = (row("P", (True, True), 0), row("Q", (False, True), 1), row("R", (False, False), 1))
    found, _, source = read(tmp_path / "a.jsonl", *rows, min_gap=1)
    assert [p.prompt for p in found] == ["Q"]
    assert dict(source.skipped) == {"harmlessness: smaller difference than min_gap": 2}


@pytest.mark.parametrize(
    ("bad_row", "problem", "key"),
    [
        (b'{"prompt": "P", "resp', "not JSON", None),
        (row("P", (True, False), 1), "contradicts is_response_0_safe", "safer_response_id"),
        (row("P", (True, False), -1), "must be 0 or 1, found -1", "safer_response_id"),
        (row("P", (True, "yes"), 0), "must be true or false", "is_response_1_safe"),
        (row("P", (None, True), 1), "must be true or false", "is_response_0_safe"),
        (row("P", (True, True), None), "must be a whole number", "safer_response_id"),
    ],
)
def test_a_bad_row_is_named_and_the_others_stay(tmp_path: Path, bad_row: Any, problem: str, key: str | None) -> None:
    rows = (row("P1", (True, False), 0), bad_row, row("P3", (True, False), 0), row("P1", (True, False), 0))
    found, bad, _ = read(tmp_path / "a.jsonl", *rows)
    assert [p.prompt for p in found] == ["P1", "P3"]
    assert [(error.file, error.row, error.key) for error in bad] == [
        (str(tmp_path / "a.jsonl"), 2, key),
        (str(tmp_path / "a.jsonl"), 4, "prompt"),
    ]
    assert problem in str(bad[0])
