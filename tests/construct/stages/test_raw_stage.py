"""The quarantine names what was refused, with file, row and key, and never with the content."""

import json
from pathlib import Path

import pytest

from persona_rm.construct.job.plan import estimated
from persona_rm.construct.stages.raw_stage import QUARANTINE, Quarantine, quarantine
from persona_rm.errors import DataError


def test_the_first_reasons_are_named_and_all_are_listed(tmp_path: Path) -> None:
    bad = Quarantine(tmp_path / "new" / QUARANTINE)
    assert (bad.reasons, quarantine(tmp_path / "new")) == ("nothing was refused", [])
    for row in range(1, 6):
        bad(DataError("must be text, found 'a secret'", file="a.jsonl", row=row, key="prompt"))
    assert bad.reasons.startswith(
        "5 could not be read: a.jsonl, row 1, key 'prompt': must be text, found something else"
    )
    assert bad.reasons.endswith("; and 2 more")
    assert [line["row"] for line in quarantine(tmp_path / "new")] == [1, 2, 3, 4, 5]
    assert "secret" not in (tmp_path / "new" / QUARANTINE).read_text()


def test_a_quarantine_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="the quarantine cannot be written"):
        Quarantine(tmp_path / "file" / QUARANTINE)(DataError("bad", file="a", row=1))


def test_a_source_without_a_thread_says_why(tmp_path: Path, space) -> None:  # type: ignore[no-untyped-def]
    from persona_rm.construct.config import ConstructConfig
    from persona_rm.sources import SOURCES

    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"thread_id": "t", "prompt": 7}), encoding="utf-8")
    reddit = SOURCES.load("reddit")
    source = reddit(reddit.Config(path=str(path)), space)
    with pytest.raises(
        DataError, match=r"gave no thread; 1 could not be read: .*a\.jsonl, row 1, key 'source': missing"
    ):
        estimated(source, None, ConstructConfig(), Quarantine(tmp_path / QUARANTINE))  # type: ignore[arg-type]
