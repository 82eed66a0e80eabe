"""A file of another kind is named as what it is, whatever its name says."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from persona_rm.errors import DataError
from persona_rm.io.json_rows import read_rows


def tar() -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.jsonl"))
    return stream.getvalue()


@pytest.mark.parametrize(
    ("name", "content", "kind"),
    [
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a Git LFS pointer"),
        ("a.jsonl", b"PK\x03\x04rest", "a zip archive"),
        ("a.jsonl", gzip.compress(b"{}", mtime=0), "it is packed; rename it to end in .gz"),
        ("a.jsonl.gz", b'{"a": 1}\n', "its name ends in .gz, and its content is not packed"),
        ("a.jsonl.zst", gzip.compress(b"{}", mtime=0), "it is packed; rename it to end in .gz"),
        ("a.jsonl.gz", gzip.compress(tar(), mtime=0), "a tar archive"),
        ("a.jsonl", b"PAR1" + b"\0" * 100, "its content is Parquet; rename it to end in .parquet"),
        ("a.json", b"\n  <!DOCTYPE html><html></html>", "an HTML page"),
        ("a.json", b"SQLite format 3\0", "a SQLite database"),
        ("a.jsonl", b"\x80\x04\x95", "a Python pickle, which could run code"),
        ("a.jsonl", '{"a": "some plain text"}'.encode("utf-16-le"), "UTF-16 text without a mark"),
        ("a.jsonl", '{"a": 1}'.encode("utf-32"), "UTF-32"),
    ],
)
def test_the_kind_is_named(tmp_path: Path, name: str, content: bytes, kind: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError) as raised:
        list(read_rows(tmp_path / name))
    assert kind in str(raised.value)
    assert str(tmp_path / name) in str(raised.value)
