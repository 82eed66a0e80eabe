"""Files, folders and patterns; packed files; files that break among good ones; fingerprints."""

import bz2
import gzip
import io
import json
import lzma
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import zstandard
from pydantic import ValidationError

from persona_rm.errors import DataError, MissingExtra
from persona_rm.io.json_rows import read_rows
from persona_rm.sources.inputs import JSON, bare, find_files
from persona_rm.sources.reddit import RedditSource
from persona_rm.space import PreferenceSpace

PACK: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": lambda data: bz2.compress(data, 1),
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".zst": zstandard.ZstdCompressor().compress,
}


def line(name: str, text: str = "a") -> bytes:
    row = {"thread_id": name, "source": "s", "prompt": "Post", "responses": [{"text": text}]}
    return json.dumps(row).encode() + b"\n"


def read(path: Path | str, space: PreferenceSpace, **config: Any) -> tuple[list[str], list[DataError]]:
    bad: list[DataError] = []
    source = RedditSource(RedditSource.Config(path=str(path), **config), space)
    return [thread.id for thread in source.threads(bad.append)], bad


def three(folder: Path, name: str, content: bytes) -> Path:
    """A folder with a good file before and after the one given."""
    (folder / "a.jsonl").write_bytes(line("a1") + line("a2"))
    (folder / name).write_bytes(content)
    (folder / "z.jsonl").write_bytes(line("z1"))
    return folder


@pytest.mark.parametrize("suffix", PACK)
def test_packed_files_are_unpacked_and_a_cut_one_keeps_what_came_before(
    tmp_path: Path, space: PreferenceSpace, suffix: str
) -> None:
    packed = PACK[suffix](line("b1") + line("b2"))
    assert read(three(tmp_path, f"b.jsonl{suffix}", packed), space) == (["a1", "a2", "b1", "b2", "z1"], [])
    (tmp_path / f"b.jsonl{suffix}").write_bytes(packed[:-9])
    found, bad = read(tmp_path, space)
    assert found[:2] + found[-1:] == ["a1", "a2", "z1"]
    assert set(found[2:-1]) <= {"b1", "b2"}
    assert len(bad) == 1
    assert f"b.jsonl{suffix}, row " in str(bad[0])


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
@pytest.mark.parametrize("array", [False, True])
def test_rows_before_the_break_of_a_large_packed_file_are_kept(tmp_path: Path, suffix: str, array: bool) -> None:
    noise = random.Random(0)
    rows = [json.dumps({"n": n, "text": noise.randbytes(250).hex()}) for n in range(1500)]
    text = f"[{','.join(rows)}]" if array else "\n".join(rows)
    packed = PACK[suffix](text.encode())
    path = tmp_path / f"a.json{suffix}"
    path.write_bytes(packed[: len(packed) * 3 // 4])
    bad: list[DataError] = []
    found = [row.data["n"] for row in read_rows(path, bad.append)]
    assert found == list(range(len(found)))
    assert 600 <= len(found) < 1500
    assert [(error.file, error.row) for error in bad] == [(path, len(found) + 1)]


def test_several_streams_in_one_packed_file_are_all_read(tmp_path: Path) -> None:
    for suffix, pack in PACK.items():
        path = tmp_path / f"a.jsonl{suffix}"
        path.write_bytes(pack(line("1")) + (b"\0" * 4 if suffix == ".xz" else b"") + pack(line("2")))
        assert [row.data["thread_id"] for row in read_rows(path)] == ["1", "2"]


def test_zst_with_the_window_of_pushshift_is_read(tmp_path: Path) -> None:
    long = zstandard.ZstdCompressionParameters(window_log=31)
    out = io.BytesIO()
    with zstandard.ZstdCompressor(compression_params=long).stream_writer(out, closefd=False) as stream:
        stream.write(line("1"))
    (tmp_path / "a.zst").write_bytes(out.getvalue())
    assert [row.data["thread_id"] for row in read_rows(tmp_path / "a.zst")] == ["1"]


def test_without_zstandard_the_pip_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.zst").write_bytes(PACK[".zst"](line("1")))
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MissingExtra, match=r"pip install persona_rm\[data\]"):
        list(read_rows(tmp_path / "a.zst", pytest.fail))


@pytest.mark.parametrize(
    ("name", "content", "row", "problem"),
    [
        ("b.jsonl", b"", 1, "the file is empty"),
        ("b.jsonl", b" \n\n", 1, "the file is empty"),
        ("b.jsonl.gz", b"", 1, "the file is empty"),
        ("b.jsonl.gz", gzip.compress(b"", mtime=0), 1, "the file is empty"),
        ("b.jsonl.gz", line("b"), 1, "its name ends in .gz, and its content is not packed"),
        ("b.jsonl.zst", line("b"), 1, "cannot be read"),
        ("b.jsonl.xz", line("b"), 1, "cannot be read"),
        ("b.jsonl.bz2", line("b"), 1, "cannot be read"),
        ("b.jsonl", line("b").decode().encode("utf-16"), 1, "not UTF-8 but UTF-16"),
        ("b.jsonl", line("b") + line("c")[:20], 2, "not JSON"),
        ("b.jsonl", line("b") + line("c").replace(b"Post", "Café".encode("latin-1")), 2, "not UTF-8"),
        ("b.jsonl", line("b") + b'{"a":' + b"[" * 100_000, 2, "not JSON"),
    ],
)
def test_a_bad_file_stops_nothing(
    tmp_path: Path, space: PreferenceSpace, name: str, content: bytes, row: int, problem: str
) -> None:
    found, bad = read(three(tmp_path, name, content), space)
    assert found == ["a1", "a2", *(["b"] if row == 2 else []), "z1"]
    assert f"{name}, row {row}" in str(bad[0])
    assert problem in str(bad[0])
    assert len(bad) == 1


def test_a_file_that_may_not_be_opened_stops_nothing(
    tmp_path: Path, space: PreferenceSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    three(tmp_path, "b.jsonl", line("b"))
    opened = Path.open

    def refuse(path: Path, *args: Any, **kwargs: Any) -> Any:
        if path.name == "b.jsonl":
            raise PermissionError(13, "Permission denied")
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    found, bad = read(tmp_path, space)
    assert (found, [(error.file, error.row) for error in bad]) == (["a1", "a2", "z1"], [(tmp_path / "b.jsonl", 1)])
    assert "Permission denied" in str(bad[0])
    assert RedditSource(RedditSource.Config(path=str(tmp_path)), space).fingerprint()


def test_a_comment_of_ten_megabytes_survives(tmp_path: Path, space: PreferenceSpace) -> None:
    text = "wörter " * 1_500_000
    (tmp_path / "a.jsonl.zst").write_bytes(PACK[".zst"](line("a") + line("b", text) + line("c")))
    source = RedditSource(RedditSource.Config(path=str(tmp_path)), space)
    assert [len(thread.comments[0].text) for thread in source.threads(pytest.fail)] == [1, len(text), 1]


def test_folders_and_patterns_mean_sorted_files(tmp_path: Path) -> None:
    names = ("b.jsonl", "a.json.gz", "sub/c.NDJSON", "README.md", ".hidden.jsonl", ".git/d.jsonl", "notes.txt")
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"{}")

    def found(path: str) -> list[str]:
        return [str(file.relative_to(tmp_path)) for file in find_files(str(tmp_path / path), JSON)]

    assert found("") == ["a.json.gz", "b.jsonl", "sub/c.NDJSON"]
    assert found("*.jsonl") == ["b.jsonl"]
    assert found("**/*s*") == ["a.json.gz", "b.jsonl", "notes.txt", "sub/c.NDJSON"]
    assert found("su*") == ["sub/c.NDJSON"]
    assert found("README.md") == ["README.md"]
    assert bare(Path("x/RC_2019-01.zst")) == "RC_2019-01"


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path: Path) -> None:
    (tmp_path / "a[1].jsonl").write_bytes(line("1"))
    assert find_files(str(tmp_path / "a[1].jsonl"), JSON) == [tmp_path / "a[1].jsonl"]


def test_no_file_at_all_raises_and_names_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"holds no \*\.jsonl, .*it holds: notes\.txt"):
        find_files(str(tmp_path), JSON)
    with pytest.raises(DataError, match=r"\*\.zst: no file matches this pattern"):
        find_files(str(tmp_path / "*.zst"), JSON)
    with pytest.raises(DataError, match=r"none\.jsonl: no such file \(its folder holds: notes\.txt\)"):
        find_files(str(tmp_path / "none.jsonl"), JSON)
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=r"all files are empty \(2 of 2\)"):
        find_files(str(tmp_path), JSON)
    with pytest.raises(ValidationError):
        RedditSource.Config(path="")


def test_the_limit_counts_threads_of_all_files(tmp_path: Path, space: PreferenceSpace) -> None:
    assert read(three(tmp_path, "b.jsonl", line("b")), space, limit=3)[0] == ["a1", "a2", "b"]


def test_files_and_fingerprint_follow_every_file(tmp_path: Path, space: PreferenceSpace) -> None:
    source = RedditSource(RedditSource.Config(path=str(three(tmp_path, "b.jsonl", b""))), space)
    assert [file.name for file in source.files()] == ["a.jsonl", "b.jsonl", "z.jsonl"]
    first = source.fingerprint()
    assert first == source.fingerprint()
    (tmp_path / "b.jsonl").write_bytes(line("b"))
    second = source.fingerprint()
    (tmp_path / "b.jsonl").rename(tmp_path / "c.jsonl")
    licensed = RedditSource(RedditSource.Config(path=str(tmp_path), licence="CC0"), space)
    assert len({first, second, source.fingerprint(), licensed.fingerprint()}) == 4
