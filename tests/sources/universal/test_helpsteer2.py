"""HelpSteer2: rows of one prompt are paired, by attribute; verbosity is the negative pole of its dimension."""

import json
from pathlib import Path
from typing import Any

import pytest

from persona_rm.errors import DataError
from persona_rm.sources.universal import ValuePair
from persona_rm.sources.universal.helpsteer2 import VALUES, HelpSteer2


def row(prompt: str, response: str, **ratings: Any) -> dict[str, Any]:
    return {"prompt": prompt, "response": response} | dict.fromkeys(VALUES, 2) | ratings


def read(path: Path, *rows: Any, **config: Any) -> tuple[list[ValuePair], list[DataError], HelpSteer2]:
    path.write_bytes(b"\n".join(given if isinstance(given, bytes) else json.dumps(given).encode() for given in rows))
    bad: list[DataError] = []
    source = HelpSteer2(HelpSteer2.Config(path=str(path), **config))
    return list(source.pairs(bad.append)), bad, source


def test_each_attribute_that_differs_gives_a_pair(tmp_path: Path) -> None:
    first = row("P", "short", helpfulness=4, correctness=1, verbosity=0)
    second = row("P", "long", helpfulness=3, correctness=3, verbosity=4)
    found, bad, source = read(tmp_path / "a.jsonl", first, second)
    assert [(p.dimension, p.direction, p.chosen, p.rejected) for p in found] == [
        ("helpfulness", 1, "short", "long"),
        ("truthfulness", 1, "long", "short"),
        ("communication_style", -1, "long", "short"),
    ]
    assert dict(source.skipped) == {"coherence: tie": 1, "complexity: tie": 1}
    assert bad == []
    assert [p.dimension for p in read(tmp_path / "a.jsonl", first, second, min_gap=2)[0]] == [
        "truthfulness",
        "communication_style",
    ]


def test_rows_of_a_prompt_need_not_stand_together(tmp_path: Path) -> None:
    rows = [row("P", "a"), row("Q", "b"), row("P", "c", coherence=4), row("R", "d"), row("Q", "e", coherence=0)]
    found, bad, source = read(tmp_path / "a.jsonl", *rows)
    assert [(p.prompt, p.chosen, p.rejected) for p in found] == [("P", "c", "a"), ("Q", "b", "e")]
    assert source.skipped["coherence: fewer than two ratings"] == 1
    assert bad == []


@pytest.mark.parametrize(
    ("bad_row", "problem", "key"),
    [
        (b'{"prompt": "P1", "resp', "not JSON", None),
        (row("P1", "x", coherence=None), "must be a whole number", "coherence"),
        (row("P1", "x", verbosity="much"), "must be a whole number", "verbosity"),
        ({"prompt": "P1", "response": "x"}, "missing; the row has: prompt, response", "helpfulness"),
        (json.dumps(row("P1", "x")).encode().replace(b'"x"', b'"\xe9"'), "not UTF-8", "response"),
        (row(3, "x"), "must be text, found 3", "prompt"),  # type: ignore[arg-type]
    ],
)
def test_a_bad_row_is_named_and_the_others_stay(tmp_path: Path, bad_row: Any, problem: str, key: str | None) -> None:
    found, bad, _ = read(tmp_path / "a.jsonl", row("P1", "a"), bad_row, row("P1", "b", coherence=4))
    assert [(p.prompt, p.chosen) for p in found] == [("P1", "b")]
    assert [(error.file, error.row, error.key) for error in bad] == [(str(tmp_path / "a.jsonl"), 2, key)]
    assert problem in str(bad[0])
