"""Packed files that stand for far more than they are, and lines without an end: quarantined, in bounded memory."""

import bz2
import gzip
import json
import lzma
import resource
from pathlib import Path

import pytest
import zstandard

from persona_rm.errors import DataError
from persona_rm.io import json_rows
from persona_rm.io.json_rows import read_rows
from persona_rm.users.csv_rows import read_csv

GOOD = b'{"a": 1}\n'
PACK = {
    ".gz": lambda data: gzip.compress(data, 1),
    ".bz2": lambda data: bz2.compress(data, 1),
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".zst": zstandard.ZstdCompressor(level=3).compress,
}


def rows_of(path: Path) -> tuple[list[object], list[DataError]]:
    bad: list[DataError] = []
    return [row.data for row in read_rows(path, bad.append)], bad


def test_a_small_archive_of_gigabytes_is_given_up(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jsonl.zst"
    packer = zstandard.ZstdCompressor(level=3)
    with path.open("wb") as file, packer.stream_writer(file) as stream:
        stream.write(GOOD)
        for _ in range(400):
            stream.write(b"0" * (1 << 20))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows, bad = rows_of(path)
    assert rows == [{"a": 1}]
    assert [error.row for error in bad] == [2]
    assert "it unpacks to more than 1,000 times its size" in str(bad[0])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200 * 1024


@pytest.mark.parametrize("suffix", PACK)
def test_a_line_that_is_too_long_costs_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str) -> None:
    monkeypatch.setattr(json_rows, "LONGEST_ROW", 1000)
    path = tmp_path / f"a.jsonl{suffix}"
    path.write_bytes(PACK[suffix](GOOD + b"1" * (3 << 20) + b"\n" + GOOD))
    rows, bad = rows_of(path)
    assert rows == [{"a": 1}, {"a": 1}]
    assert [(error.row, "3,145,729 characters or more; at most 1,000" in str(error)) for error in bad] == [(2, True)]


@pytest.mark.parametrize("suffix", PACK)
def test_packed_text_of_any_size_is_whole(tmp_path: Path, suffix: str) -> None:
    lines = [json.dumps({"n": n, "text": "abc " * (n % 50)}).encode() for n in range(20_000)]
    path = tmp_path / f"a.jsonl{suffix}"
    half = len(lines) // 2
    # Two streams behind one another, as parallel compressors write them.
    path.write_bytes(b"".join(PACK[suffix](b"\n".join(part) + b"\n") for part in (lines[:half], lines[half:])))
    rows, bad = rows_of(path)
    assert [row["n"] for row in rows] == list(range(20_000))  # type: ignore[index]
    assert bad == []


def test_an_element_of_an_array_that_is_no_json_costs_itself(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('[{"a": 1}, {"a": 01}, {"b": "}]", "c": \'x\'}, {"a": 2}]', encoding="utf-8")
    rows, bad = rows_of(path)
    assert rows == [{"a": 1}, {"a": 2}]
    assert [error.row for error in bad] == [2, 3]


def test_a_quote_that_is_never_closed_does_not_take_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persona_rm.users.csv_rows.LONGEST_ROW", 500)
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n" + "x" * 3000 + ',"y\n' + "3,4\n", encoding="utf-8")
    bad: list[DataError] = []
    assert [dict(row.data) for row in read_csv(path, bad.append)] == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    assert "the row has more than 500 characters" in str(bad[0])
