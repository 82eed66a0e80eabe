"""Pushshift dumps: submissions joined with their comments, replies, orphans, doubles, breaks."""

import gzip
import json
import random
from pathlib import Path
from typing import Any

import pytest
import zstandard

from persona_rm.errors import DataError
from persona_rm.sources import SOURCES
from persona_rm.sources.pushshift import PushshiftSource
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment, Thread


def submission(id_: str, **changes: Any) -> dict[str, Any]:
    row = {"id": id_, "title": f"Title {id_}", "selftext": "", "author": "ann", "created_utc": 1549411200}
    return row | {"subreddit": "pics", "score": 3, "permalink": "/r/"} | changes


def comment(id_: str, post: str, parent: str = "", **changes: Any) -> dict[str, Any]:
    row = {"id": id_, "body": f"Body {id_}", "author": "bob", "created_utc": 1549411260, "subreddit": "pics"}
    return row | {"score": 5, "parent_id": parent or f"t3_{post}", "link_id": f"t3_{post}"} | changes


def lines(*rows: Any) -> bytes:
    return b"".join((row if isinstance(row, bytes) else json.dumps(row).encode()) + b"\n" for row in rows)


def write(folder: Path, submissions: bytes, comments: bytes) -> Path:
    """The two files of a month, packed as Pushshift packs them."""
    for name, text in (("RS_2019-02.zst", submissions), ("RC_2019-02.zst", comments)):
        (folder / name).write_bytes(zstandard.ZstdCompressor().compress(text))
    return folder


def read(folder: Path, space: PreferenceSpace, **config: Any) -> tuple[dict[str, Thread], list[DataError]]:
    paths = {"submissions": str(folder / "RS_*"), "comments": str(folder / "RC_*")}
    bad: list[DataError] = []
    source = PushshiftSource(PushshiftSource.Config(**paths | config), space)
    return {thread.id: thread for thread in source.threads(bad.append)}, bad


def test_submissions_get_their_comments(tmp_path: Path, space: PreferenceSpace) -> None:
    rows = (
        submission("s1"),
        submission("s2", selftext="&gt; a &amp;lt; b", author="[deleted]", created_utc="1549411200.0"),
    )
    late = comment("c1", "s1", created_utc=1549411300)
    write(tmp_path, lines(*rows), lines(late, comment("c2", "s1"), comment("c3", "s1", score=None, author=None)))
    found, bad = read(tmp_path, space)
    when = "2019-02-06T00:01:00+00:00"
    comments = (
        Comment("s1/c2", "Body c2", "bob", 5, when),
        Comment("s1/c3", "Body c3", None, None, when),
        Comment("s1/c1", "Body c1", "bob", 5, "2019-02-06T00:01:40+00:00"),
    )
    assert found["s1"] == Thread("s1", "reddit/pics", "Title s1", comments, "ann", "2019-02-06T00:00:00+00:00")
    expected = Thread("s2", "reddit/pics", "Title s2\n\n> a &lt; b", (), None, "2019-02-06T00:00:00+00:00")
    assert found["s2"] == expected
    assert bad == []


def test_a_removed_text_is_left_to_cleaning(tmp_path: Path, space: PreferenceSpace) -> None:
    rows = (submission("s1", selftext="[removed]"), submission("s2", author="AutoModerator"))
    found, bad = read(write(tmp_path, lines(*rows), lines(comment("c", "s1", body="[deleted]"))), space)
    assert (found["s1"].prompt, found["s1"].comments[0].text) == ("[removed]", "[deleted]")
    assert (found["s2"].author, bad) == ("AutoModerator", [])


def test_nested_replies_are_taken_when_asked_for(tmp_path: Path, space: PreferenceSpace) -> None:
    nested = comment("c2", "s1", "t1_c1", created_utc=1549411999)
    write(tmp_path, lines(submission("s1")), lines(nested, comment("c1", "s1")))
    assert [c.id for c in read(tmp_path, space)[0]["s1"].comments] == ["s1/c1"]
    assert [c.id for c in read(tmp_path, space, replies="all")[0]["s1"].comments] == ["s1/c1", "s1/c2"]


def test_orphans_and_doubles_are_named(tmp_path: Path, space: PreferenceSpace) -> None:
    posts = lines(submission("s1"), submission("s2"), submission("s1", title="again"))
    replies = lines(comment("c1", "s1"), comment("c9", "gone"), comment("c1", "s1", body="again"), comment("c2", "s2"))
    found, bad = read(write(tmp_path, posts, replies), space)
    assert {key: len(thread.comments) for key, thread in found.items()} == {"s1": 1, "s2": 1}
    assert (found["s1"].prompt, found["s1"].comments[0].text) == ("Title s1", "Body c1")
    where = sorted((Path(str(error.file)).name, error.row, error.key) for error in bad)
    assert where == [("RC_2019-02.zst", 2, "link_id"), ("RC_2019-02.zst", 3, "id"), ("RS_2019-02.zst", 3, "id")]
    assert "orphan" in next(str(error) for error in bad if error.row == 2)
    assert all("read before" in str(error) for error in bad if error.row == 3)


@pytest.mark.parametrize(
    ("row", "problem", "key"),
    [
        (b'{"id": "s2", "tit', "not JSON", None),
        (json.dumps(submission("s2")).encode().replace(b"Title", b"T\xe9"), "not UTF-8", "title"),
        (submission("s2", title=None), "must be text", "title"),
        (submission("", title="x"), "missing or empty", "id"),
        (submission("s2", created_utc=1e300), "no time", "created_utc"),
        (submission("s2", created_utc=True), "must be text", "created_utc"),
        (submission("s2", subreddit=["a"]), "must be text", "subreddit"),
    ],
)
def test_a_bad_submission_is_named_and_the_others_stay(
    tmp_path: Path, space: PreferenceSpace, row: Any, problem: str, key: str | None
) -> None:
    write(tmp_path, lines(submission("s1"), row, submission("s3")), lines(comment("c", "s1")))
    found, bad = read(tmp_path, space)
    assert {"s1", "s3"} <= set(found)
    assert [(Path(str(error.file)).name, error.row, error.key) for error in bad] == [("RS_2019-02.zst", 2, key)]
    assert problem in str(bad[0])


def test_files_that_break_cost_only_what_is_behind(tmp_path: Path, space: PreferenceSpace) -> None:
    write(tmp_path, lines(submission("s1"), submission("s2")), lines(comment("c1", "s1")))
    (tmp_path / "RC_2019-03.gz").write_bytes(gzip.compress(lines(*(comment(f"d{n}", "s2") for n in range(9))))[:-30])
    (tmp_path / "RC_2019-04.zst").write_bytes(b"")
    (tmp_path / "RC_2019-05.jsonl").write_bytes(lines(comment("e", "s2")))
    (tmp_path / "RS_2019-03.gz").write_bytes(lines(submission("s3")))
    found, bad = read(tmp_path, space)
    assert set(found) == {"s1", "s2"}
    assert "s2/e" in [comment.id for comment in found["s2"].comments]
    assert [Path(str(error.file)).name for error in bad] == ["RS_2019-03.gz", "RC_2019-03.gz", "RC_2019-04.zst"]
    assert all(f"{error.file}, row {error.row}: " in str(error) for error in bad)
    assert len(found["s2"].comments) == bad[1].row


def test_order_buckets_and_mixed_files_change_nothing(tmp_path: Path, space: PreferenceSpace) -> None:
    posts = [submission(f"s{n}") for n in range(200)]
    replies = [comment(f"c{n}", f"s{n % 150}", created_utc=1549411200 + n % 7) for n in range(900)]
    first = read(write(tmp_path, lines(*posts), lines(*replies)), space, buckets=1)
    assert (len(first[0]), first[1]) == (200, [])
    mixed = random.Random(0).sample(posts + replies, 1100)
    (tmp_path / "all").mkdir()
    for n in range(3):
        (tmp_path / "all" / f"{n}.jsonl").write_bytes(lines(*mixed[n::3]))
    every = {"submissions": str(tmp_path / "all"), "comments": str(tmp_path / "all")}
    second = read(tmp_path, space, buckets=13, **every)
    assert (list(second[0].items()), second[1]) == (list(first[0].items()), [])
    assert list(read(tmp_path, space, limit=5)[0]) == list(first[0])[:5]


def test_a_missing_side_raises_before_the_first_row(tmp_path: Path, space: PreferenceSpace) -> None:
    (tmp_path / "RS_1.jsonl").write_bytes(lines(submission("s1")))
    with pytest.raises(DataError, match=r"RC_\*: no file matches this pattern"):
        read(tmp_path, space)


def test_the_zoo_knows_it_and_buckets_leave_the_fingerprint_alone(tmp_path: Path, space: PreferenceSpace) -> None:
    assert SOURCES.load("pushshift") is PushshiftSource
    write(tmp_path, lines(submission("s1")), lines(comment("c1", "s1")))
    paths = {"submissions": str(tmp_path), "comments": str(tmp_path)}
    sources = [
        PushshiftSource(PushshiftSource.Config(**paths, **more), space)
        for more in ({}, {"buckets": 9}, {"replies": "all"})
    ]
    assert [file.name for file in sources[0].files()] == ["RC_2019-02.zst", "RS_2019-02.zst"]
    first, second, third = (source.fingerprint() for source in sources)
    assert first == second != third
