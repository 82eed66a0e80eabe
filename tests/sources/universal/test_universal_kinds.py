"""K6: what goes beside the threads goes through cleaning too. Bodies of HTML and universal-value sets, ten cases."""

import json
from pathlib import Path
from typing import Any

import pytest

from persona_rm.errors import DataError
from persona_rm.sources.html_text import to_text
from persona_rm.sources.universal import UNIVERSAL, ValuePair

HTML = {
    '<p>see <img src="x" alt="enter image description here"> it</p>': "see it",
    '<img alt="A cup of tea">': "A cup of tea",
    "<p>it is <del>bad</del><s>poor</s> good</p>": "it is good",
    "2<sup>10</sup> bytes, the 4<sup>th</sup>, e<sup>x+1</sup>": "2^10 bytes, the 4th, e^(x+1)",
    "H<sub>2</sub>O and 10<sub>2</sub> and log<sub>2</sub>8": "H2O and 10_2 and log2 8",
    "<s>a tag that is never closed": "a tag that is never closed",
}


@pytest.mark.parametrize("html", HTML)
def test_html_leaves_what_its_writer_meant(html: str) -> None:
    assert to_text(html) == HTML[html]


def rated(prompt: str, *responses: tuple[str, int]) -> list[dict[str, Any]]:
    names = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    return [{"prompt": prompt, "response": text, **dict.fromkeys(names, 2), "helpfulness": n} for text, n in responses]


def pairs(path: Path, rows: list[dict[str, Any]]) -> tuple[list[ValuePair], list[DataError], Any]:
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    cls = UNIVERSAL.load("helpsteer2")
    source, bad = cls(cls.Config(path=str(path))), list[DataError]()
    return list(source.pairs(bad.append)), bad, source


def test_an_empty_side_is_left_out_and_counted(tmp_path: Path) -> None:
    found, _, source = pairs(tmp_path / "a.jsonl", rated("P", ("\u200b ", 0), ("better", 4), ("worse", 1)))
    assert [(pair.chosen, pair.rejected) for pair in found] == [("better", "worse")]
    assert source.skipped["helpfulness: empty text"] == 1


def test_turns_are_written_out_and_counted(tmp_path: Path) -> None:
    prompt = "Tea?\n<extra_id_1>Assistant\nBlack.\n<extra_id_1>User\nWhy?"
    found, _, source = pairs(tmp_path / "a.jsonl", rated(prompt, ("good", 4), ("bad", 1)))
    assert [pair.prompt for pair in found] == ["User: Tea?\n\nAssistant: Black.\n\nUser: Why?"]
    assert source.rendered == 2


@pytest.mark.parametrize("prompt", ["Tea?\n<extra_id_1>Assistant\nBlack.", "Tea?\n<extra_id_1>Robot\nBlack."])
def test_marks_that_are_no_turns_are_refused(tmp_path: Path, prompt: str) -> None:
    found, bad, _ = pairs(tmp_path / "a.jsonl", rated(prompt, ("good", 4), ("bad", 1)))
    assert found == []
    assert [error.key for error in bad] == ["prompt", "prompt"]
