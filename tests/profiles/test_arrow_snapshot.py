"""The snapshot: written whole, read in place, honest about files that are none."""

import json
import random

import pyarrow as pa
import pytest

from persona_rm.errors import DataError, MissingExtra
from persona_rm.profiles import arrow
from persona_rm.profiles.arrow import ArrowSnapshot, write_snapshot
from persona_rm.profiles.base import hash_of
from persona_rm.types import UserState


def state(user_id, version=1, **payload) -> UserState:
    return UserState("vote", user_id, payload, n_items=1, version=version)


@pytest.fixture
def path(tmp_path):
    return write_snapshot(tmp_path / "p.arrow", [state("b"), state("a"), state("c")])


def test_twenty_thousand_users(tmp_path):
    ids = [f"user-{i}" for i in range(20_000)]
    random.Random(0).shuffle(ids)
    store = ArrowSnapshot(write_snapshot(tmp_path / "p.arrow", (state(user, of=user) for user in ids)))
    assert list(store.ids()) == sorted(ids)
    assert len(store) == 20_000
    for start in range(0, 20_000, 256):
        batch = ids[start : start + 256]
        found = store.get([*batch, "user-20000", "user--1"])
        assert [(user, found[user].payload["of"]) for user in found] == [(user, user) for user in batch]


def test_the_version_is_the_content(tmp_path):
    first = ArrowSnapshot(write_snapshot(tmp_path / "1.arrow", [state("a"), state("b")]))
    same = ArrowSnapshot(write_snapshot(tmp_path / "2.arrow", [state("b"), state("a")]))
    other = ArrowSnapshot(write_snapshot(tmp_path / "3.arrow", [state("a", version=2), state("b")]))
    moved = ArrowSnapshot(write_snapshot(tmp_path / "4.arrow", [state("ab"), state("b")]))
    assert first.version == same.version
    assert len({first.version, other.version, moved.version}) == 3
    assert (tmp_path / "1.arrow").read_bytes() == (tmp_path / "2.arrow").read_bytes()


def test_two_ids_with_one_key_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow, "_key", lambda sha256: int(sha256[:1], 16))
    ids = [f"u{i}" for i in range(200)]
    store = ArrowSnapshot(write_snapshot(tmp_path / "p.arrow", [state(user, of=user) for user in ids]))
    assert [s.payload["of"] for s in store.get(ids).values()] == ids
    assert store.get([f"v{i}" for i in range(200)]) == {}
    assert store.erase(["u7", "v7"]) == 1
    assert len(store) == 199


def test_put_says_what_to_use_instead(path):
    with pytest.raises(DataError, match=r"write_snapshot.*sqlite:PATH or redis://"):
        ArrowSnapshot(path).put([state("a", version=2)])


def test_a_user_twice_is_refused_and_the_old_file_stays(path):
    before = path.read_bytes()
    with pytest.raises(DataError, match="'x' stands twice"):
        write_snapshot(path, [state("x"), state("y"), state("x", version=2)])
    with pytest.raises(DataError, match="'x': the payload is no JSON"):
        write_snapshot(path, [state("y"), state("x", what=object())])
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_tombstone_file_holds_hashes_and_dates_only(path):
    ArrowSnapshot(path).erase(["a", "ghost"])
    lines = [json.loads(line) for line in path.with_name("p.arrow.erased").read_text().splitlines()]
    assert [line["sha256"] for line in lines] == [hash_of("a"), hash_of("ghost")]
    assert {key for line in lines for key in line} == {"sha256", "erased"}


def test_writing_again_honours_tombstones_and_drops_the_bytes(path):
    write_snapshot(path, [state("a", text="my sister"), state("b")])
    store = ArrowSnapshot(path)
    store.erase(["a"])
    assert store.get(["a"]) == {}
    write_snapshot(path, [state("a", text="my sister"), state("b")])
    assert b"my sister" not in path.read_bytes()
    again = ArrowSnapshot(path)
    assert (list(again.ids()), len(again), again.get(["a"])) == (["b"], 1, {})


def test_erased_users_of_another_store_are_left_out(tmp_path):
    path = write_snapshot(tmp_path / "p.arrow", [state("a"), state("b")], {"a": "2026-01-31", "ghost": "2026-02-01"})
    store = ArrowSnapshot(path)
    assert list(store.ids()) == ["b"]
    assert store.erased(["a", "b", "ghost"]) == {"a": "2026-01-31", "ghost": "2026-02-01"}
    assert store.erase(["a"]) == 0
    assert store.erased(["a"]) == {"a": "2026-01-31"}, "the first date stays"
    with pytest.raises(DataError, match="'c': the date of an erasure must be ISO"):
        write_snapshot(path, [], {"c": "yesterday"})


def test_readmit_lifts_tombstones_of_those_who_are_there(path):
    old = ArrowSnapshot(path)
    old.erase(["a", "b", "ghost"])
    write_snapshot(path, [state("a", version=2), state("b")], old.erased(["b"]), readmit=True)
    store = ArrowSnapshot(path)
    assert store.get(["a", "b"]) == {"a": state("a", version=2)}
    assert store.erased(["a", "b", "ghost"]).keys() == {"b", "ghost"}
    assert old.get(["a"]) == {}, "what an opening saw erased it never shows again"
    store.erase(["a"])
    assert ArrowSnapshot(path).get(["a"]) == {}


def test_a_tombstone_file_that_cannot_be_read_stops_everything(path):
    store = ArrowSnapshot(path)
    store.erase(["a"])
    stones = path.with_name("p.arrow.erased")
    good = stones.read_bytes()
    for bad in (good[:-20], b"{}\n", good + b"[1]\n", good.replace(b"erased", b"forgot"), good.replace(b"20", b"xx")):
        stones.write_bytes(bad)
        for call in (
            lambda: store.get(["b"]),
            lambda: len(store),
            lambda: store.erase(["b"]),
            ArrowSnapshot(path).open,
        ):
            with pytest.raises(DataError, match=r"erased, row \d: not a tombstone"):
                call()
    stones.write_bytes(good[:-1])
    assert store.erase(["b"]) == 1
    assert list(ArrowSnapshot(path).ids()) == ["c"]
    stones.unlink()
    assert list(store.ids()) == ["c"], "an open snapshot does not forget"


def test_a_cut_file_is_refused_at_every_length(path):
    whole = path.read_bytes()
    for size in (0, 3, 8, 100, len(whole) // 2, len(whole) - 10, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"p\.arrow: .*(empty|no Arrow file|cut)"):
            ArrowSnapshot(path).open()


def test_a_damaged_byte_is_refused_when_the_file_is_opened(path):
    whole = bytearray(path.read_bytes())
    found = 0
    for place in range(8, len(whole), 3):
        damaged = bytearray(whole)
        damaged[place] ^= 0xFF
        path.write_bytes(damaged)
        try:
            store = ArrowSnapshot(path).open()
        except DataError:
            found += 1
            continue
        assert store.get(["a", "b", "c"]) == {user: state(user) for user in "abc"}, f"byte {place}, not padding"
    assert found > 300


def test_other_things_at_the_path_are_named(tmp_path):
    path = tmp_path / "p.arrow"
    with pytest.raises(DataError, match="no such file"):
        ArrowSnapshot(path).open()
    path.mkdir()
    with pytest.raises(DataError, match="a folder; a snapshot is one file"):
        ArrowSnapshot(path).open()
    path.rmdir()
    path.write_bytes(b"SQLite format 3\0" + bytes(100))
    with pytest.raises(DataError, match="no Arrow file"):
        ArrowSnapshot(path).open()


def write_plain(path, metadata, columns=("x",)) -> None:
    schema = pa.schema([(name, pa.int64()) for name in columns], metadata=metadata)
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        writer.write_batch(pa.record_batch([pa.array([1]) for _ in columns], schema=schema))


def test_other_arrow_files_and_layouts_are_named(tmp_path):
    path = tmp_path / "p.arrow"
    cases = [
        (None, "no profile snapshot"),
        ({arrow.LAYOUT: "0"}, "layout 0; this version reads layout 1"),
        ({arrow.LAYOUT: "2"}, "update persona_rm"),
        ({arrow.LAYOUT: "my sister"}, "layout unknown"),
        ({arrow.LAYOUT: "1"}, "an earlier version wrote it"),
        ({arrow.LAYOUT: "1", arrow.VERSION: "x"}, "columns or pieces are missing"),
    ]
    for metadata, problem in cases:
        write_plain(path, metadata)
        with pytest.raises(DataError, match=problem):
            ArrowSnapshot(path).open()


def test_an_open_snapshot_outlives_its_replacement(path):
    store = ArrowSnapshot(path).open()
    write_snapshot(path, [state("z")])
    assert list(store.ids()) == ["a", "b", "c"]
    store.close()
    assert list(store.ids()) == ["z"]


def test_the_state_of_one_user_may_be_broken(tmp_path, monkeypatch):
    monkeypatch.setattr(arrow, "record", lambda s: arrow.Record(s.user_id, hash_of(s.user_id), 1, b'{"my sister'))
    store = ArrowSnapshot(write_snapshot(tmp_path / "p.arrow", [state("a")]))
    with pytest.raises(DataError, match="user 'a': the stored text is no state") as caught:
        store.get(["a"])
    assert "sister" not in str(caught.value)


def test_without_pyarrow_the_command_is_told(path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"pip install persona_rm\[profiles\]"):
        ArrowSnapshot(path).open()


def test_states_are_mapped_not_loaded(tmp_path):
    path = write_snapshot(tmp_path / "p.arrow", [state(f"u{i}", text="x" * 1000) for i in range(3000)])
    before = pa.total_allocated_bytes()
    store = ArrowSnapshot(path).open()
    assert len(store.get(["u1", "u2"])) == 2
    assert pa.total_allocated_bytes() - before < path.stat().st_size / 10


def test_refresh_reads_the_file_that_stands_there_now(path):
    store = ArrowSnapshot(path).open()
    before = store.version
    store.refresh()
    assert store.version == before
    write_snapshot(path, [state("z"), state("a", version=2)], {"b": "2026-01-31"})
    store.refresh()
    assert list(store.ids()) == ["a", "z"]
    assert store.get(["a"])["a"].version == 2
    assert store.erased(["b"])


def test_refresh_of_a_file_that_is_gone_or_damaged_is_an_error(path):
    store = ArrowSnapshot(path).open()
    path.write_bytes(b"nothing")
    with pytest.raises(DataError, match="no Arrow file"):
        store.refresh()
    path.unlink()
    with pytest.raises(DataError, match=r"p\.arrow"):
        store.refresh()
