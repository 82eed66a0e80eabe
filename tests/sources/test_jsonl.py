"""Rows of any shape: keys by config, responses as texts or objects, flat rows that are grouped."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from persona_rm.errors import DataError
from persona_rm.sources import SOURCES
from persona_rm.sources.jsonl import JsonlSource
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment, Thread, content_id


def read(path: Path, space: PreferenceSpace, *rows: Any, **config: Any) -> tuple[list[Thread], list[DataError]]:
    path.write_bytes(b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows))
    bad: list[DataError] = []
    source = JsonlSource(JsonlSource.Config(path=str(path), **config), space)
    return list(source.threads(bad.append)), bad


def test_responses_are_texts_or_objects(tmp_path: Path, space: PreferenceSpace) -> None:
    objects = [{"text": "a", "author": 7, "score": 3.0, "created": 1549411200, "more": 1}, "b"]
    rows = ({"id": 5, "prompt": "P", "responses": ["x"]}, {"prompt": "Q", "responses": objects, "author": "ann"})
    (first, second), bad = read(tmp_path / "a.jsonl", space, *rows)
    id_ = content_id("Q", "a", "b")
    answers = (Comment(f"{id_}/1", "a", "7", 3, "2019-02-06T00:00:00+00:00"), Comment(f"{id_}/2", "b"))
    assert first == Thread("5", "jsonl", "P", (Comment("5/1", "x"),))
    assert second == Thread(id_, "jsonl", "Q", answers, "ann")
    assert bad == []


def test_config_says_which_key_holds_what(tmp_path: Path, space: PreferenceSpace) -> None:
    keys = {"id_key": "n", "prompt_key": "q", "responses_key": "as", "text_key": "t", "author_key": "u"}
    more = {"created_key": "at", "score_key": "votes", "source_name": "forum", "licence": "ours"}
    row = {
        "n": "1",
        "q": "P",
        "as": [{"t": "a", "u": "bob", "votes": "4", "at": "2024-01-01"}],
        "u": "ann",
        "at": None,
    }
    found, bad = read(tmp_path / "a.jsonl", space, row, **keys, **more)
    assert found == [Thread("1", "forum", "P", (Comment("1/1", "a", "bob", 4, "2024-01-01"),), "ann")]
    assert bad == []
    with pytest.raises(ValidationError):
        JsonlSource.Config(path="a", prompt="q")


def test_flat_rows_are_grouped(tmp_path: Path, space: PreferenceSpace) -> None:
    rows = [{"q": n % 3, "prompt": f"P{n % 3}", "answer": f"a{n}", "author": f"u{n}", "score": n} for n in range(7)]
    found, bad = read(tmp_path / "a.jsonl", space, *rows, group_by="q", text_key="answer")
    threads = {thread.id: thread for thread in found}
    comments = tuple(Comment(f"0/{n}", f"a{m}", f"u{m}", m) for n, m in ((1, 0), (2, 3), (3, 6)))
    assert threads["0"] == Thread("0", "jsonl", "P0", comments)
    assert sorted(threads) == ["0", "1", "2"]
    again, _ = read(tmp_path / "a.jsonl", space, *rows, group_by="prompt", text_key="answer", buckets=1)
    assert {thread.id for thread in again} == {content_id(f"P{n}") for n in range(3)}
    assert bad == []


def test_a_row_of_another_prompt_in_a_group_is_named(tmp_path: Path, space: PreferenceSpace) -> None:
    rows = [{"q": 1, "prompt": prompt, "text": text} for prompt, text in (("P", "a"), ("other", "b"), ("P", "c"))]
    path = tmp_path / "a.jsonl"
    found, bad = read(path, space, *rows, {"q": 2, "prompt": "R"}, {"prompt": "R", "text": "d"}, group_by="q")
    assert [comment.text for thread in found for comment in thread.comments] == ["a", "c"]
    assert sorted((error.file, error.row, error.key) for error in bad) == [
        (str(path), 2, "prompt"),
        (str(path), 4, "text"),
        (str(path), 5, "q"),
    ]
    assert "not the prompt of its group" in str(bad[-1])


@pytest.mark.parametrize(
    ("row", "problem", "key"),
    [
        (b'{"prompt": "P", "respon', "not JSON", None),
        (b'{"prompt": "caf\xe9", "responses": ["a"]}', "not UTF-8", "prompt"),
        ({"prompt": "P"}, "missing; the row has: prompt", "responses"),
        ({"prompt": "P", "responses": []}, "the thread is empty", "responses"),
        ({"prompt": "P", "responses": [3]}, "must be an object, found 3", "responses[0]"),
        ({"prompt": "P", "responses": [{"body": "a"}]}, "missing; the row has: body", "responses[0].text"),
        ({"prompt": "P", "responses": [{"text": "a", "score": 1.5}]}, "must be a whole number", "responses[0].score"),
        ({"id": ["a"], "prompt": "P", "responses": ["a"]}, "must be text", "id"),
        ([1], "must be a JSON object", None),
    ],
)
def test_a_bad_row_is_named_and_the_others_stay(
    tmp_path: Path, space: PreferenceSpace, row: Any, problem: str, key: str | None
) -> None:
    good = {"prompt": "P", "responses": ["a"]}
    found, bad = read(tmp_path / "a.jsonl", space, good, row, good)
    assert len(found) == 2
    assert [(error.file, error.row, error.key) for error in bad] == [(str(tmp_path / "a.jsonl"), 2, key)]
    assert problem in str(bad[0])


def test_the_real_reddit_file_reads_the_same_by_keys(space: PreferenceSpace, shared_data: Path) -> None:
    path = str(shared_data / "threads" / "reddit.jsonl.gz")
    config = JsonlSource.Config(path=path, id_key="thread_id", limit=300)
    reddit = SOURCES.load("reddit")
    expected = list(reddit(reddit.Config(path=path, limit=300), space).threads(pytest.fail))
    found = list(SOURCES.load("jsonl")(config, space).threads(pytest.fail))
    assert [(thread.id, thread.comments) for thread in found] == [(thread.id, thread.comments) for thread in expected]
