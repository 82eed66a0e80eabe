"""For any value in any field of any source: threads of sound values, or an entry of the quarantine. Nothing raises."""

import io
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from persona_rm.construct.records import PostRecord, from_post
from persona_rm.construct.stages.outcome import Outcome, table
from persona_rm.errors import DataError
from persona_rm.sources import SOURCES
from persona_rm.sources.html_text import to_text
from persona_rm.space import PreferenceSpace
from persona_rm.types import Thread

FEW = settings(
    deadline=None, max_examples=40, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=12)
    | st.sampled_from(["null", "NaN", "[deleted]", "3.0", "1704067200", "\ud800", "\u200b", "t3_p", "1e999", "<![x"])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
REPLY = {"text": "a", "text_html": "<p>a</p>", "author": "b", "score": 1, "created": 1704067200}
ROWS: dict[str, list[dict[str, Any]]] = {
    "reddit": [
        {"thread_id": "t", "source": "s", "prompt": "P", "author": "a", "created": "2024", "responses": [REPLY]}
    ],
    "stackexchange": [
        {
            "thread_id": "t",
            "source": "s",
            "title": "T",
            "prompt_html": "P",
            "author": 1,
            "created": 0,
            "responses": [REPLY],
        }
    ],
    "jsonl": [{"id": "t", "prompt": "P", "author": "a", "created": "2024", "responses": [REPLY]}],
    "pushshift": [
        {"id": "p", "title": "T", "selftext": "S", "author": "a", "created_utc": 1, "subreddit": "s"},
        {"id": "c", "body": "B", "author": "b", "created_utc": 2, "score": 1, "parent_id": "t3_p", "link_id": "t3_p"},
    ],
}


@contextmanager
def written(content: bytes, name: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        yield path


def check(source: str, content: bytes, space: PreferenceSpace, name: str = "a.jsonl", **config: Any) -> list[Thread]:
    """The threads of a file, which a later stage can write as a table; errors name file and row."""
    bad: list[DataError] = []
    with written(content, name) as path:
        cls = SOURCES.load(source)
        where = {"submissions": str(path), "comments": str(path)} if source == "pushshift" else {"path": str(path)}
        try:
            threads = list(cls(cls.Config(**where, **config), space).threads(bad.append))
        except DataError as error:
            # The one thing that is refused at once: a file without any content.
            if "empty" not in error.problem:
                raise
            return []
        assert all(error.file and error.row for error in bad)
    assert all(thread.id for thread in threads)
    if threads:
        table([(number, Outcome(from_post(PostRecord(thread)))) for number, thread in enumerate(threads)])
    return threads


def replaced(rows: list[dict[str, Any]], data: st.DataObject) -> list[dict[str, Any]]:
    """The rows with arbitrary values at some of their keys, and in some of their replies."""
    changed = json.loads(json.dumps(rows))
    row = data.draw(st.sampled_from(changed))
    places = [row, *(reply for reply in row.get("responses", []))]
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(places))
        place[data.draw(st.sampled_from(sorted(place)))] = data.draw(VALUES)
    return changed  # type: ignore[no-any-return]


@pytest.mark.parametrize("source", ROWS)
@FEW
@given(data=st.data())
def test_any_value_in_any_field_is_read_or_quarantined(
    source: str, space: PreferenceSpace, data: st.DataObject
) -> None:
    rows = replaced(ROWS[source], data)
    check(source, b"\n".join(json.dumps(row).encode() for row in rows), space)
    check(source, json.dumps(rows).encode(), space, "a.json")
    if source == "jsonl":
        check(source, b"\n".join(json.dumps(row).encode() for row in rows), space, group_by="id", text_key="prompt")


@pytest.mark.parametrize("source", ROWS)
@FEW
@given(data=st.data())
def test_a_row_that_is_cut_anywhere_leaves_the_others(
    source: str, space: PreferenceSpace, data: st.DataObject
) -> None:
    whole = [json.dumps(row).encode() for row in ROWS[source]]
    broken = whole[0][: data.draw(st.integers(1, len(whole[0]) - 1))] + data.draw(st.binary(max_size=4))
    rows = [*whole, broken.replace(b"\n", b" ")]
    assert len(check(source, b"\n".join(rows), space)) == 1


def drawn_times(draw: Any) -> Any:
    """Two times of any unit and zone. Parquet has no seconds and writes milliseconds, so seconds go less far."""
    unit = draw(st.sampled_from(["s", "ms", "us", "ns"]))
    most = 2**62 // 1000 if unit == "s" else 2**62
    values = draw(st.lists(st.integers(-most, most), min_size=2, max_size=2))
    return pa.array(values, pa.timestamp(unit, tz=draw(st.sampled_from([None, "UTC", "Mars/X"]))))


ARROW: dict[str, Callable[[Any], Any]] = {
    "whole": lambda draw: pa.array(
        draw(st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), min_size=2, max_size=2))
    ),
    "fractions": lambda draw: pa.array(draw(st.lists(st.floats() | st.none(), min_size=2, max_size=2)), pa.float64()),
    "times": drawn_times,
    "bytes": lambda draw: pa.array(draw(st.lists(st.binary(max_size=5), min_size=2, max_size=2))),
    "truth": lambda draw: pa.array([True, None]),
    "decimals": lambda draw: pa.array([Decimal("17"), Decimal("1.5")]),
    "days": lambda draw: pa.array([date(2024, 1, 1), None]),
    "durations": lambda draw: pa.array([1, 2], pa.duration("s")),
    "lists": lambda draw: pa.array([["a"], None]),
    "nothing": lambda draw: pa.nulls(2),
    "texts": lambda draw: pa.array(
        draw(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2))
    ),
}


@FEW
@given(data=st.data())
def test_any_column_of_a_table_is_read_or_quarantined(space: PreferenceSpace, data: st.DataObject) -> None:
    columns: dict[str, Any] = {
        "id": ["a", "b"],
        "prompt": ["P", "Q"],
        "author": ["a", None],
        "created": pa.array([datetime(2024, 1, 1, tzinfo=UTC), None]),
        "responses": [["x"], ["y"]],
    }
    columns[data.draw(st.sampled_from(sorted(columns)))] = ARROW[data.draw(st.sampled_from(sorted(ARROW)))](data.draw)
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream)
    check("hf", stream.getvalue(), space, "a.parquet")


ATTRIBUTES = ("Id", "PostTypeId", "ParentId", "Title", "Body", "Score", "CreationDate", "OwnerUserId")
PRINTABLE = st.text(st.characters(min_codepoint=32, exclude_categories=["Cs", "Cn"]), max_size=12)


@FEW
@given(st.dictionaries(st.sampled_from(ATTRIBUTES), PRINTABLE))
def test_any_attribute_of_a_dump_is_read_or_quarantined(space: PreferenceSpace, attributes: dict[str, str]) -> None:
    row = {"Id": "1", "PostTypeId": "1", "Title": "T", "Body": "B"} | attributes
    xml = f"<posts><row {' '.join(f'{key}={quoteattr(value)}' for key, value in row.items())}/></posts>"
    check("stackexchange_dump", xml.encode(), space, "Posts.xml")


PIECES = (
    *("<", ">", "</", "<p>", "<sup>", "</sup>", "<sub>", "<del>", "</del>", "<li>", "<ol>", '"', "'", "=", "<a href="),
    *("<!--", "-->", "<![", "&#", "&amp;", "x", " ", "1", "<script>", "<pre>", "</pre>", "<img alt=", "\x00", "\x01"),
)


@settings(deadline=None, max_examples=300, database=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_any_markup_becomes_text(html: str) -> None:
    text = to_text(html)
    assert "\x00" not in text
    assert "\x01" not in text
    assert to_text(f"{html}<p>the end of it</p>").rstrip("`\n").endswith("the end of it") or "<" in html
