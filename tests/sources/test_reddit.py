"""Reddit threads: rows, bad rows, limit and fingerprint."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from persona_rm.errors import DataError
from persona_rm.sources import SOURCES
from persona_rm.sources.reddit import RedditSource
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment, Thread


def thread(number: int, **changes: Any) -> dict[str, Any]:
    row = {
        "thread_id": f"t{number}",
        "source": "reddit/x",
        "prompt": "Post",
        "responses": [{"text": "a"}, {"text": "b"}],
    }
    return row | changes


def source(path: Path, space: PreferenceSpace, **config: Any) -> RedditSource:
    return RedditSource(RedditSource.Config(path=str(path), **config), space)


def save(path: Path, *rows: Any) -> Path:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def test_rows_become_threads(tmp_path: Path, space: PreferenceSpace) -> None:
    reply = {"text": "b", "author": "ann", "score": -2, "created": "2024-01-01"}
    path = save(
        tmp_path / "a.jsonl", thread(1), thread(2, responses=[{"text": "a", "author": None}, reply], author="bob")
    )
    packed = tmp_path / "a.jsonl.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    bad: list[DataError] = []
    first, second = source(path, space).threads(bad.append)
    assert first == Thread("t1", "reddit/x", "Post", (Comment("t1/1", "a"), Comment("t1/2", "b")))
    assert second.comments[1] == Comment("t2/2", "b", "ann", -2, "2024-01-01")
    assert (second.author, second.created) == ("bob", None)
    assert list(source(packed, space).threads(bad.append)) == [first, second]
    assert list(source(path, space, limit=1).threads(bad.append)) == [first]
    assert bad == []


@pytest.mark.parametrize(
    ("row", "problem", "key"),
    [
        (json.dumps(thread(2)).encode()[:30], "not JSON", None),
        (json.dumps(thread(2)).encode().replace(b"Post", b"P\xff"), "not UTF-8", "prompt"),
        (["t2"], "must be a JSON object", None),
        (
            {"thread_id": "t2", "source": "s", "responses": [{"text": "a"}]},
            "missing; the row has: thread_id",
            "prompt",
        ),
        (thread(2, thread_id=[2]), "must be text or a whole number, found [2]", "thread_id"),
        (thread(2, responses="a"), "must be a list, found 'a'", "responses"),
        (thread(2, responses=[7]), "must be an object, found 7", "responses[0]"),
        (thread(2, responses=[{"body": "b"}]), "missing; the row has: body", "responses[0].text"),
        (thread(2, responses=[{"text": None}]), "must be text, found None", "responses[0].text"),
        (thread(2, responses=[{"text": "a", "score": "9 or so"}]), "must be a whole number", "responses[0].score"),
        (thread(2, responses=[{"text": "a", "score": True}]), "must be a whole number", "responses[0].score"),
        (thread(2, responses=[]), "the thread is empty", "responses"),
    ],
)
def test_a_bad_row_goes_to_quarantine_and_reading_goes_on(
    tmp_path: Path, space: PreferenceSpace, row: Any, problem: str, key: str | None
) -> None:
    path = save(tmp_path / "a.jsonl", thread(1), row, thread(3))
    bad: list[DataError] = []
    assert [found.id for found in source(path, space).threads(bad.append)] == ["t1", "t3"]
    assert [(error.file, error.row, error.key) for error in bad] == [(str(path), 2, key)]
    assert problem in str(bad[0])


def test_a_bad_response_costs_itself_only(tmp_path: Path, space: PreferenceSpace) -> None:
    responses = [{"text": "a"}, {"body": "b"}, 7, {"text": "c", "score": "many"}, "d", {"text": "e", "score": 3.0}]
    path = save(tmp_path / "a.jsonl", thread(1, responses=responses))
    bad: list[DataError] = []
    (found,) = source(path, space).threads(bad.append)
    assert [(comment.id, comment.text, comment.score) for comment in found.comments] == [
        ("t1/1", "a", None),
        ("t1/5", "d", None),
        ("t1/6", "e", 3),
    ]
    assert [error.key for error in bad] == ["responses[1].text", "responses[2]", "responses[3].score"]


def test_bad_rows_do_not_count_towards_the_limit(tmp_path: Path, space: PreferenceSpace) -> None:
    path = save(tmp_path / "a.jsonl", thread(1, responses=[]), b"{", thread(3), thread(4))
    bad: list[DataError] = []
    assert [found.id for found in source(path, space, limit=1).threads(bad.append)] == ["t3"]
    assert [error.row for error in bad] == [1, 2]


def test_a_missing_or_empty_file_raises_before_the_first_row(tmp_path: Path, space: PreferenceSpace) -> None:
    missing = source(tmp_path / "none.jsonl", space)
    for verb in (lambda: missing.threads(pytest.fail), missing.fingerprint):
        with pytest.raises(DataError, match=r"none\.jsonl: no such file"):
            verb()
    (tmp_path / "empty.jsonl").write_bytes(b"")
    with pytest.raises(DataError, match="the file is empty"):
        source(tmp_path / "empty.jsonl", space).threads(pytest.fail)


def test_the_config_is_strict() -> None:
    for config in ({"path": "a", "limit": 0}, {"path": "a", "limits": 3}, {}):
        with pytest.raises(ValidationError):
            RedditSource.Config(**config)


def test_the_fingerprint_follows_config_and_content(tmp_path: Path, space: PreferenceSpace) -> None:
    path = save(tmp_path / "a.jsonl", thread(1))
    first = source(path, space).fingerprint()
    assert source(path, space).fingerprint() == first
    assert source(path, space, limit=5).fingerprint() != first
    save(path, thread(1), thread(2))
    assert source(path, space).fingerprint() != first


def test_the_zoo_knows_it() -> None:
    assert SOURCES.load("reddit") is RedditSource
    assert {"reddit", "stackexchange", "simulator"} <= set(SOURCES.names())


def test_the_real_file(space: PreferenceSpace, shared_data: Path) -> None:
    bad: list[DataError] = []
    threads = list(source(shared_data / "threads" / "reddit.jsonl.gz", space).threads(bad.append))
    assert (len(threads), len(bad)) == (26_767, 0)
    assert sum(len(found.comments) > 1 for found in threads) == 8_722
    assert len({comment.id for found in threads for comment in found.comments}) == 39_810
