"""Kinds of input that real dumps hold, ten cases each, with the right value of each.

K1 values at which a library raises, K2 spellings, K3 one reading in every source, K7 messages that name the cause, K8
the smallest thing that is bad, K10 texts in which a reader sees nothing.
"""

import gzip
import io
import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from persona_rm.construct.cleaning import Cleaner
from persona_rm.construct.config import ConstructConfig
from persona_rm.errors import DataError
from persona_rm.sources import SOURCES
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment, Thread

LONG = "A long enough answer about tea."
NAN = float("nan")


def read(
    space: PreferenceSpace, folder: Path, source: str, content: bytes, name: str = ""
) -> tuple[list[Thread], list[DataError]]:
    path = folder / (name or {"stackexchange_dump": "Posts.xml", "hf": "a.parquet"}.get(source, "a.jsonl"))
    path.write_bytes(content)
    cls = SOURCES.load(source)
    given = {"submissions": str(path), "comments": str(path)} if source == "pushshift" else {"path": str(path)}
    bad: list[DataError] = []
    return list(cls(cls.Config(**given), space).threads(bad.append)), bad


def lines(*rows: Any) -> bytes:
    return b"\n".join(row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows)


def reddit(**more: Any) -> dict[str, Any]:
    return {"thread_id": "t", "source": "s", "prompt": "P", "responses": [{"text": "a"}]} | more


def answer(**more: Any) -> dict[str, Any]:
    return reddit(responses=[{"text": "a"} | more])


def jsonl(**more: Any) -> dict[str, Any]:
    return {"id": "t", "prompt": "P", "responses": ["a"]} | more


def exchange(html: str) -> dict[str, Any]:
    row = {"thread_id": "t", "source": "s", "title": "T", "prompt_html": "<p>P</p>"}
    return row | {"responses": [{"text_html": html}]}


def table(**columns: Any) -> bytes:
    stream = io.BytesIO()
    made = {"id": ["a", "b"], "prompt": ["P", "Q"], "responses": [["x"], ["y"]]} | columns
    pq.write_table(pa.table(made), stream)
    return stream.getvalue()


def posts(*rows: str) -> bytes:
    return f"<posts>{''.join(rows)}</posts>".encode()


QUESTION = '<row Id="1" PostTypeId="1" Title="T" Body="b" CreationDate="2024-01-01T00:00:00"/>'
FAR = pa.array([55_969 * 31_556_952, 1], pa.timestamp("s"))
ZONE = pa.array([1, 2], pa.timestamp("s", tz="Mars/Olympus"))

K1 = {
    "marked section": ("stackexchange", lines(exchange("<p>(?<![a-z])x</p>")), ["(?<![a-z])x"], 0),
    "reference of 5,000 digits": ("stackexchange", lines(exchange(f"a&#{'9' * 5000};b")), ["a\ufffdb"], 0),
    "declaration that never ends": ("stackexchange", lines(exchange("a <!DOCTYPE b")), ["a <!DOCTYPE b"], 0),
    "time in the year 55969": ("hf", table(created=FAR), ["y"], 1),
    "unknown time zone": ("hf", table(created=ZONE), [], 2),
    "nested 100,000 deep": ("jsonl", lines(b'{"a":' + b"[" * 100_000, jsonl()), ["a"], 1),
    "number of 5,000 digits": ("jsonl", lines(b'{"id":' + b"1" * 5000 + b"}", jsonl()), ["a"], 1),
    "time beyond every calendar": ("jsonl", lines(jsonl(created=1e300), jsonl()), ["a"], 1),
    "half a surrogate pair": ("jsonl", lines(b'{"prompt":"\\ud800","responses":["a"]}', jsonl()), ["a"], 1),
    "XML with an unknown entity": ("stackexchange_dump", posts(QUESTION, '<row Id="&x;"/>'), [], 1),
}


@pytest.mark.parametrize("case", K1)
def test_what_a_library_raises_costs_its_row(tmp_path: Path, space: PreferenceSpace, case: str) -> None:
    source, content, texts, bad_rows = K1[case]
    threads, bad = read(space, tmp_path, source, content)
    assert [comment.text for thread in threads for comment in thread.comments] == texts
    assert len(bad) == bad_rows
    assert all(error.file and error.row for error in bad)


AUTHORS = {
    "null": None,
    "N/A": None,
    "NaN": None,
    "[Deleted User]": None,
    "<removed account>": None,
    "[unavailable]": None,
    "\\[deleted\\]": None,
    "u/AutoModerator": None,
    "/u/ann": "ann",
    "Nana": "Nana",
}


@pytest.mark.parametrize("written", AUTHORS)
def test_a_missing_author_is_known_by_any_spelling(tmp_path: Path, space: PreferenceSpace, written: str) -> None:
    (thread,), _ = read(space, tmp_path, "reddit", lines(answer(text=LONG, author=written)))
    cleaner = Cleaner(ConstructConfig().clean.model_copy(update={"hash_authors": False}), b"")
    cleaned = cleaner.clean(thread).thread
    # What a bot wrote goes as a whole.
    assert (cleaned.comments[0].author if cleaned else None) == AUTHORS[written]
    assert (cleaned is None) == (written == "u/AutoModerator")


K2 = {
    "[ Removed by Reddit ]": True,
    "[REMOVED]": True,
    "*[deleted by user]*": True,
    "\\[removed\\]": True,
    "[removed\u200b]": True,
    "[ Removed by reddit in response to a copyright notice. ]": True,
    "[Comment removed]": False,
    "[removed] the old text of mine": False,
    "[deletedscene] is a channel": False,
    "I would have [removed] the lid": False,
}


@pytest.mark.parametrize("text", K2)
def test_a_notice_is_no_text(space: PreferenceSpace, text: str) -> None:
    thread = Thread("t", "s", "A post about tea", (Comment("a", LONG), Comment("b", f"{text}")))
    drops = Cleaner(ConstructConfig().clean, b"x").clean(thread).drops
    assert any(drop.reason == "deleted or removed" for drop in drops) == K2[text]


DAY = "2024-01-01T00:00:00+00:00"
SECONDS = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp())
K3: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "score as a fraction": ({"score": 3.0}, {"score": 3}),
    "score as text": ({"score": " 3.0 "}, {"score": 3}),
    "score that is NaN": ({"score": NAN}, {"score": None}),
    "score N/A": ({"score": "N/A"}, {"score": None}),
    "time as a whole number": ({"created": SECONDS}, {"created": DAY}),
    "time as text of a number": ({"created": f"{SECONDS}.0"}, {"created": DAY}),
    "time in milliseconds": ({"created": SECONDS * 1000}, {"created": DAY}),
    "time that is null": ({"created": None}, {"created": None}),
    "author as a number": ({"author": 17.0}, {"author": "17"}),
    "author as an empty text": ({"author": " \u200b"}, {"author": None}),
}
READERS = ("reddit", "stackexchange", "jsonl", "pushshift", "hf")


def in_every_reader(source: str, value: dict[str, Any]) -> bytes:
    """A post with one answer that has this value."""
    if source == "pushshift":
        named = {"created_utc" if key == "created" else key: one for key, one in value.items()}
        reply = {"id": "c", "body": "a", "parent_id": None, "link_id": "t3_p", "created_utc": None} | named
        return lines({"id": "p", "title": "T", "subreddit": "s"}, reply)
    if source == "stackexchange":
        row = exchange("a")
        row["responses"][0] |= value
        return lines(row)
    if source == "hf":
        row = {"id": 1.0, "prompt": "P", "responses": [{"text": "a"} | value]}
        stream = io.BytesIO()
        pq.write_table(pa.Table.from_pylist([row]), stream)
        return stream.getvalue()
    return lines(answer(**value) if source == "reddit" else jsonl(responses=[{"text": "a"} | value]))


@pytest.mark.parametrize("case", K3)
def test_a_value_is_read_alike_by_every_source(tmp_path: Path, space: PreferenceSpace, case: str) -> None:
    given, right = K3[case]
    for source in READERS:
        (thread,), bad = read(space, tmp_path, source, in_every_reader(source, given))
        assert bad == [], source
        found = {key: getattr(thread.comments[0], key) for key in right}
        assert found == right, source


def test_values_of_tables_are_read_like_those_of_text(tmp_path: Path, space: PreferenceSpace) -> None:
    columns = {
        "id": pa.array([Decimal("17"), Decimal("18")]),
        "prompt": pa.array([b"P", b"Q"]),
        "author": pa.array([1.0, None]),
        "created": pa.array([datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC) + timedelta(days=1)]),
    }
    threads, bad = read(space, tmp_path, "hf", table(**columns))
    assert bad == []
    assert [(t.id, t.prompt, t.author) for t in threads] == [("17", "P", "1"), ("18", "Q", None)]
    assert threads[0].created == DAY


K7 = {
    "Git LFS": ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
    "zip": ("a.jsonl", b"PK\x03\x04", "a zip archive"),
    "misnamed gzip": ("a.jsonl", gzip.compress(b"{}", mtime=0), "rename it to end in .gz"),
    "gz that is none": ("a.jsonl.gz", b"{}", "its name ends in .gz"),
    "HTML": ("a.jsonl", b"<!doctype html>", "an HTML page"),
    "Parquet": ("a.jsonl", table(), "rename it to end in .parquet"),
    "UTF-16": ("a.jsonl", '{"a": 1}'.encode("utf-16"), "UTF-16"),
    "cut line": ("a.jsonl", b'{"id": "t"', "is the line cut?"),
    "wrong type": ("a.jsonl", lines(jsonl(prompt=7)), "key 'prompt': must be text, found 7"),
    "missing key": ("a.jsonl", lines({"id": "t", "text": "P"}), "missing; the row has: id, text"),
}


@pytest.mark.parametrize("case", K7)
def test_the_message_names_cause_row_and_file(tmp_path: Path, space: PreferenceSpace, case: str) -> None:
    name, content, words = K7[case]
    threads, (error,) = read(space, tmp_path, "jsonl", content, name)
    assert threads == []
    assert words in str(error)
    assert (str(error.file), error.row) == (str(tmp_path / name), 1)


THREE = [{"text": "a"}, {"text": "b"}]
K8 = {
    "null text": ({"text": None}, "responses[2].text"),
    "number for an object": (7, "responses[2]"),
    "list for an object": ([], "responses[2]"),
    "no text": ({"body": "c"}, "responses[2].text"),
    "text that is a list": ({"text": ["c"]}, "responses[2].text"),
    "score in words": ({"text": "c", "score": "many"}, "responses[2].score"),
    "score that is a fraction": ({"text": "c", "score": 1.5}, "responses[2].score"),
    "score of 70 bits": ({"text": "c", "score": 1 << 70}, "responses[2].score"),
    "time without an end": ({"text": "c", "created": float("inf")}, "responses[2].created"),
    "author that is an object": ({"text": "c", "author": {}}, "responses[2].author"),
}


@pytest.mark.parametrize("case", K8)
def test_a_bad_response_costs_itself(tmp_path: Path, space: PreferenceSpace, case: str) -> None:
    item, key = K8[case]
    for source in ("reddit", "jsonl"):
        row = reddit(id="t", responses=[*THREE, item])
        (thread,), (error,) = read(space, tmp_path, source, lines(row))
        assert [comment.text for comment in thread.comments] == ["a", "b"]
        assert (error.row, error.key) == (1, key)


K10 = {
    "\u200b" * 12: "too short",
    "\u2800" * 12: "too short",
    "&#x200B;" * 3: "too short",
    "&nbsp; &#8203; &zwnj;": "too short",
    "![gif](giphy|abcdefghijk)": "too short",
    "\u3164\u115f\u00ad\u2060 \ufeff\u200e\u200f\u202a\u202c\u2061": "too short",
    "ab" + "\u200b" * 20: "too short",
    "lorem ipsum *This post was mass deleted and anonymized with [Redact](https://redact.dev)*": "deleted or removed",
    "A heart \u2764\ufe0f of tea": "",
    "&amp; is a sign, not nothing": "",
}


@pytest.mark.parametrize("number", range(len(K10)))
def test_what_a_reader_does_not_see_is_no_text(number: int) -> None:
    text, reason = list(K10.items())[number]
    thread = Thread("t", "s", "A post about tea", (Comment("a", LONG), Comment("b", text)))
    drops = Cleaner(ConstructConfig().clean, b"x").clean(thread).drops
    assert [drop.reason for drop in drops] == ([reason] if reason else [])
