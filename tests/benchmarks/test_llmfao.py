"""LLMFAO: judgments with a preference, by prompt; a bad row is named."""

import json
from pathlib import Path

import pytest

from persona_rm.benchmarks import BENCHMARKS
from persona_rm.errors import DataError
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comparison

ROW = {"user": "u1", "prompt_id": "7", "prompt": "ask", "a": "one", "b": "two", "system_a": "s", "system_b": "t"}


def read(path: Path, rows: list[dict[str, str]], space: PreferenceSpace) -> list[Comparison]:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    cls, config = BENCHMARKS.member({"name": "llmfao", "path": str(path)})
    comparisons: list[Comparison] = cls(config, space).comparisons()
    return comparisons


def test_choices_become_comparisons(space: PreferenceSpace, tmp_path: Path) -> None:
    rows = [{**ROW, "choice": choice} for choice in ("a", "b", "tie")]
    rows += [{**ROW, "b": "one", "choice": "a"}, {**ROW, "b": "", "choice": "b"}]
    assert read(tmp_path / "f.jsonl", rows, space) == [
        Comparison("u1", "ask", "one", "two", "7"),
        Comparison("u1", "ask", "two", "one", "7"),
        Comparison("u1", "ask", "", "one", "7"),
    ]


def test_a_bad_row_is_named(space: PreferenceSpace, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="must be a, b or tie, found 'c'"):
        read(tmp_path / "f.jsonl", [{**ROW, "choice": "a"}, {**ROW, "choice": "c"}], space)
    with pytest.raises(DataError, match="missing"):
        read(tmp_path / "f.jsonl", [ROW], space)


def test_the_published_file(space: PreferenceSpace, shared_data: Path) -> None:
    cls, config = BENCHMARKS.member({"name": "llmfao", "path": str(shared_data / "people" / "llmfao.jsonl.gz")})
    benchmark = cls(config, space)
    rows = benchmark.comparisons()
    assert (len(rows), len({row.user_id for row in rows}), len({row.group for row in rows})) == (5460, 124, 13)
    for case in benchmark.cases():
        history = {pair.prompt for pair in case.example.persona.pairs}
        assert len(case.example.persona.pairs) == 16
        assert case.example.prompt not in history
