"""Data sets on disk: saved by `datasets` or loose tables, splits, leftovers, broken shards."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from persona_rm.errors import DataError, MissingExtra
from persona_rm.sources import SOURCES
from persona_rm.sources.arrow_rows import read_arrow
from persona_rm.sources.hf import HfSource
from persona_rm.space import PreferenceSpace
from persona_rm.types import Comment, Thread


def table(*names: str) -> pa.Table:
    when = datetime(2024, 1, 2, tzinfo=UTC)
    return pa.table(
        {
            "id": list(names),
            "prompt": ["P"] * len(names),
            "responses": [[{"text": "a", "author": None, "score": 1.0}]] * len(names),
            "created": [when] * len(names),
        }
    )


def arrow(path: Path, content: pa.Table, rows: int = 1000, kind: str = "stream") -> Path:
    path.parent.mkdir(exist_ok=True, parents=True)
    writer = pa.ipc.new_stream if kind == "stream" else pa.ipc.new_file
    with pa.OSFile(str(path), "wb") as sink, writer(sink, content.schema) as out:
        out.write_table(content, max_chunksize=rows)
    return path


def read(path: Path, space: PreferenceSpace, **config: Any) -> tuple[list[Thread], list[DataError]]:
    bad: list[DataError] = []
    source = HfSource(HfSource.Config(path=str(path), **config), space)
    return list(source.threads(bad.append)), bad


def ids(path: Path, space: PreferenceSpace, **config: Any) -> list[str]:
    found, bad = read(path, space, **config)
    assert bad == []
    return [thread.id for thread in found]


def test_what_datasets_saves_is_read_split_by_split(tmp_path: Path, space: PreferenceSpace) -> None:
    import datasets

    rows = [{"id": n, "prompt": "P", "responses": [{"text": "a", "score": n}]} for n in range(6)]
    train = datasets.Dataset.from_list(rows).select([5, 3, 1])
    test = datasets.Dataset.from_list([{"id": 9, "prompt": "P", "responses": ["x", "y"]}])
    datasets.DatasetDict({"train": train, "test": test}).save_to_disk(tmp_path / "both")
    train.save_to_disk(tmp_path / "one", num_shards=2)
    loaded = [str(row["id"]) for row in datasets.load_from_disk(str(tmp_path / "one"))]
    assert ids(tmp_path / "one", space) == loaded == ["5", "3", "1"]
    assert ids(tmp_path / "both", space) == ["9", "5", "3", "1"]
    assert ids(tmp_path / "both", space, split="train") == ["5", "3", "1"]
    found, _ = read(tmp_path / "both", space, split="test")
    assert found == [Thread("9", "hf", "P", (Comment("9/1", "x"), Comment("9/2", "y")))]
    with pytest.raises(DataError, match=r"no shard of split 'dev' \(found: test/data-00000-of-00001\.arrow, train/"):
        read(tmp_path / "both", space, split="dev")


def test_parquet_and_both_arrow_formats_are_read(tmp_path: Path, space: PreferenceSpace) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(table("p1", "p2"), tmp_path / "data" / "train-00000-of-00002.parquet")
    arrow(tmp_path / "data" / "train-00001-of-00002.arrow", table("a1"), kind="file")
    arrow(tmp_path / "data" / "test.arrow", table("t1"))
    assert ids(tmp_path, space) == ["t1", "p1", "p2", "a1"]
    assert ids(tmp_path, space, split="train", limit=2) == ["p1", "p2"]
    assert ids(tmp_path, space, split="test") == ["t1"]
    found, _ = read(tmp_path / "data" / "test.arrow", space, source_name="ours")
    assert found == [Thread("t1", "ours", "P", (Comment("t1/1", "a", None, 1),), None, "2024-01-02T00:00:00+00:00")]


def test_caches_and_leftovers_are_not_read(tmp_path: Path, space: PreferenceSpace) -> None:
    arrow(tmp_path / "data-00000-of-00001.arrow", table("a"))
    arrow(tmp_path / "data-00001-of-00002.arrow", table("old"))
    arrow(tmp_path / "cache-1a2b.arrow", table("cache"))
    state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}
    (tmp_path / "state.json").write_text(json.dumps(state))
    assert ids(tmp_path, space) == ["a"]
    (tmp_path / "state.json").write_text('{"_data_files": [3]}')
    with pytest.raises(DataError, match=r"state\.json: not the state of a saved data set"):
        read(tmp_path, space)


@pytest.mark.parametrize("name", ["b.parquet", "b.arrow"])
@pytest.mark.parametrize("content", ["empty", "other", "cut"])
def test_a_broken_shard_stops_nothing(tmp_path: Path, space: PreferenceSpace, name: str, content: str) -> None:
    arrow(tmp_path / "a.arrow", table("a1"))
    arrow(tmp_path / "z.arrow", table("z1"))
    path = arrow(tmp_path / name, table(*(f"b{n}" for n in range(4000))), rows=500)
    whole = path.read_bytes()
    path.write_bytes({"empty": b"", "other": b"PK not a table", "cut": whole[: len(whole) // 2]}[content])
    found, bad = read(tmp_path, space)
    kept = [thread.id for thread in found[1:-1]]
    assert (found[0].id, found[-1].id) == ("a1", "z1")
    assert kept == [f"b{n}" for n in range(len(kept))]
    assert (len(kept) >= 1000) == (content == "cut" and name == "b.arrow")
    assert [(Path(str(error.file)).name, error.row) for error in bad] == [(name, len(kept) + 1)]
    assert f"{name}, row {len(kept) + 1}: cannot be read as" in str(bad[0])


def test_a_row_without_a_prompt_is_named(tmp_path: Path, space: PreferenceSpace) -> None:
    content = table("a", "b", "c").set_column(1, "prompt", pa.array(["P", None, "P"]))
    path = arrow(tmp_path / "a.arrow", content)
    found, bad = read(path, space)
    assert [thread.id for thread in found] == ["a", "c"]
    assert [(error.file, error.row, error.key) for error in bad] == [(str(path), 2, "prompt")]


def test_flat_tables_are_grouped(tmp_path: Path, space: PreferenceSpace) -> None:
    flat = pa.table({"prompt": ["P", "Q", "P"], "response": ["a", "b", "c"], "user": [1, 2, None]})
    pq.write_table(flat, tmp_path / "a.parquet")
    found, bad = read(tmp_path, space, group_by="prompt", text_key="response", author_key="user")
    assert {t.prompt: [(c.text, c.author) for c in t.comments] for t in found} == {
        "P": [("a", "1"), ("c", None)],
        "Q": [("b", "2")],
    }
    assert bad == []


def test_without_pyarrow_the_pip_command_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = arrow(tmp_path / "a.arrow", table("a"))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install persona_rm\[data\]"):
        list(read_arrow(path, pytest.fail))


def test_the_zoo_knows_it() -> None:
    assert SOURCES.load("hf") is HfSource
