"""The SQLite file: many writers, nothing left of the erased, and clear words for files that are no store."""

import multiprocessing
import random
import re
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

import pytest

from persona_rm.errors import DataError, StoreDown
from persona_rm.profiles import open_store
from persona_rm.profiles.sqlite import SqliteStore
from persona_rm.types import UserState


def state(user_id, version=1, **payload) -> UserState:
    return UserState("vote", user_id, payload, n_items=1, version=version)


@pytest.fixture
def store(tmp_path):
    with SqliteStore(tmp_path / "p.sqlite") as found:
        yield found


def on_disk(store) -> bytes:
    """Every byte of the file, its log and whatever else lies beside it."""
    return b"".join(path.read_bytes() for path in sorted(store.path.parent.iterdir()) if path.name.startswith("p."))


def numbers_in(text: bytes) -> set[str]:
    return {found.decode() for found in re.findall(rb"\d{12}", text)}


def write_many(path, name, together) -> None:
    """Runs in another process: 40 puts of own users, each of which also raises the version of a shared user."""
    together.wait(30)
    with SqliteStore(path) as store:
        for i in range(40):
            store.put([state(f"{name}-{i}-{j}", n=i) for j in range(5)])
            while True:
                shared = store.get(["shared"]).get("shared")
                try:
                    store.put([state("shared", (shared.version if shared else 0) + 1)])
                    break
                except DataError:  # the other one took it: read again
                    continue


def test_two_processes_that_make_and_write_one_file_lose_nothing(tmp_path):
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(2)
    path = tmp_path / "p.sqlite"
    running = [context.Process(target=write_many, args=(path, name, together)) for name in ("one", "two")]
    for process in running:
        process.start()
    for process in running:
        process.join(60)
    assert [process.exitcode for process in running] == [0, 0]
    with SqliteStore(path) as store:
        assert len(store) == 2 * 40 * 5 + 1
        assert set(store.get([f"two-39-{j}" for j in range(5)])) == {f"two-39-{j}" for j in range(5)}


def make_many(folder, together) -> None:
    """Runs in another process: makes 40 stores, each at the same moment as the other processes do."""
    for i in range(40):
        together.wait(30)
        SqliteStore(folder / f"{i}.sqlite").open().close()


def test_processes_that_make_one_file_at_once_all_get_the_store(tmp_path):
    context = multiprocessing.get_context("fork")
    together = context.Barrier(6)
    running = [context.Process(target=make_many, args=(tmp_path, together)) for _ in range(together.parties)]
    for process in running:
        process.start()
    for process in running:
        process.join(60)
    assert {process.exitcode for process in running} == {0}


@pytest.mark.parametrize("log_is_there", [False, True])
def test_a_store_that_another_made_between_two_reads_is_no_file_of_another_program(
    tmp_path, monkeypatch, log_is_there
):
    path = tmp_path / "p.sqlite"
    if log_is_there:
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA journal_mode = WAL")
        db.close()
    others = []

    class Interrupted(sqlite3.Connection):
        def execute(self, sql, *values):
            if "sqlite_master" in sql and not others:
                others.append(SqliteStore(path, timeout_s=0.1))
                with suppress(DataError):  # without a write-ahead log the reader keeps writers away
                    others[0].put([state("a")])
            return super().execute(sql, *values)

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Interrupted))
    with SqliteStore(path) as store:
        assert others
        assert sorted(store.ids()) == (["a"] if log_is_there else [])
        others[0].put([state("b")])
        assert "b" in store.get(["b"])
    others[0].close()


def test_threads_share_a_store_and_others_open_their_own(store):
    stores = [store, store, SqliteStore(store.path), SqliteStore(store.path)]
    together = threading.Barrier(len(stores))

    def work(number: int) -> None:
        together.wait(10)
        for i in range(30):
            stores[number].put([state(f"{number}-{i}-{j}", n=j) for j in range(3)])
            assert len(stores[number].get([f"{number}-{i}-{j}" for j in range(3)])) == 3

    with ThreadPoolExecutor(len(stores)) as pool:
        list(pool.map(work, range(len(stores))))
    assert len(store) == len(stores) * 30 * 3
    for other in stores[2:]:
        other.close()


def test_readers_see_a_put_whole_or_not_at_all(store):
    users = [f"u{i}" for i in range(1200)]
    store.put([state(user) for user in users])
    done = threading.Event()

    def write() -> None:
        with SqliteStore(store.path) as other:
            for version in range(2, 8):
                other.put([state(user, version) for user in users])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = [{found.version for found in store.get(users).values()}]
    while not done.is_set():
        seen.append({found.version for found in store.get(users).values()})
    writer.join()
    assert {len(versions) for versions in seen} == {1}


def test_nothing_of_the_erased_is_left_in_any_byte(store):
    draw = random.Random(1)
    users = [f"ID{draw.randrange(10**12):012d}" for _ in range(3000)]

    def put(some, version) -> None:
        store.put([state(user, version, text=f"<{user}>" * draw.choice([1, 3, 20, 60, 300])) for user in some])

    put(users, 1)
    for version in range(2, 8):
        put(draw.sample(users, 500), version)
    gone = draw.sample(users, 1500)
    assert {user[2:] for user in gone} <= numbers_in(on_disk(store))
    assert store.erase(gone) == 1500
    assert {user[2:] for user in gone}.isdisjoint(numbers_in(on_disk(store)))
    assert len(store.get(users)) == 1500


def test_a_reader_in_the_way_is_told_and_the_next_erase_finishes(tmp_path):
    path = tmp_path / "p.sqlite"
    with SqliteStore(path, timeout_s=0.2) as store:
        store.put([state("a", text="my sister"), state("b")])
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM states").fetchone() == (2,)
        with pytest.raises(DataError, match=r"bytes are still in the file.*again to finish"):
            store.erase(["a"])
        assert store.get(["a"]) == {}
        assert b"my sister" in on_disk(store)
        reader.close()
        assert store.erase(["a"]) == 0
        assert b"my sister" not in on_disk(store)


def test_a_writer_that_never_ends_is_told(tmp_path):
    path = tmp_path / "p.sqlite"
    with SqliteStore(path, timeout_s=0.1) as store:
        store.put([state("a")])
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DataError, match=r"p\.sqlite: SQLite failed: database is locked"):
            store.put([state("b")])
        assert list(store.get(["a", "b"])) == ["a"]
        other.close()
        store.put([state("b")])


def test_a_forked_child_opens_its_own_connection(store):
    store.put([state("a")])
    parent = store._connection
    child = multiprocessing.get_context("fork").Process(target=store.put, args=([state("child")],))
    child.start()
    child.join(30)
    assert child.exitcode == 0
    store.put([state("b")])
    assert store._connection is parent
    assert sorted(store.ids()) == ["a", "b", "child"]


def test_it_is_a_rowid_table_in_a_write_ahead_log(store):
    with sqlite3.connect(store.path) as db:
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert db.execute("SELECT rowid FROM states").fetchall() == []
    assert store._connection.execute("PRAGMA secure_delete").fetchone() == (1,)


def test_other_things_at_the_path_are_named(tmp_path):
    folder = tmp_path / "folder.sqlite"
    folder.mkdir()
    with pytest.raises(DataError, match="a folder; the store is one file"):
        SqliteStore(folder).open()
    text = tmp_path / "text.sqlite"
    text.write_text("my sister " * 200)
    with pytest.raises(DataError, match=r"text\.sqlite: SQLite failed: file is not a database"):
        SqliteStore(text).open()
    assert text.read_text() == "my sister " * 200


def test_a_file_of_another_program_is_left_as_it_was(tmp_path):
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE notes (text TEXT)")
    db.close()
    before = path.read_bytes()
    with pytest.raises(DataError, match="of another program"):
        open_store(str(path))
    assert path.read_bytes() == before


def test_a_cut_file_is_refused(store):
    store.put([state(f"u{i}", text="x" * 500) for i in range(200)])
    store.close()
    whole = store.path.read_bytes()
    for size in (10, 1000, 5000, len(whole) // 2):
        store.path.write_bytes(whole[:size])
        with pytest.raises(DataError, match=r"SQLite failed|another program"), SqliteStore(store.path) as cut:
            cut.get([f"u{i}" for i in range(200)])


def test_memory_is_no_place_for_a_store(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="local disk"):
        SqliteStore(":memory:").open()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_replaced_under_an_open_store_is_read_from_then_on(tmp_path):
    path, other = tmp_path / "p.sqlite", tmp_path / "new.sqlite"
    store = SqliteStore(path)
    store.put([state("ann"), state("bob")])
    store.erase([])
    with SqliteStore(other) as new:
        new.put([state("bob", version=2)])
        new.erase(["ann"])
    store.close()
    assert set(store.get(["ann", "bob"])) == {"ann", "bob"}
    other.replace(path)
    states, dates = store.look(["ann", "bob"])
    assert (set(states), states["bob"].version, set(dates)) == ({"bob"}, 2, {"ann"})
    store.put([state("cid")])
    with SqliteStore(path) as again:
        assert sorted(again.ids()) == ["bob", "cid"]
    store.close()
    assert sorted(SqliteStore(path).open().ids()) == ["bob", "cid"]


def test_a_file_that_is_removed_is_waited_for_and_no_empty_store_takes_its_place(tmp_path):
    path = tmp_path / "p.sqlite"
    store = SqliteStore(path)
    store.put([state("ann")])
    path.rename(tmp_path / "away")
    with pytest.raises(StoreDown, match="the file was removed while it was open"):
        store.get(["ann"])
    assert not path.exists()
    (tmp_path / "away").rename(path)
    assert set(store.get(["ann"])) == {"ann"}


def test_the_log_of_the_old_file_is_not_mixed_into_the_new_one(tmp_path):
    path, other = tmp_path / "p.sqlite", tmp_path / "new.sqlite"
    with SqliteStore(other) as new:
        new.put([state("bob")])
    store = SqliteStore(path)
    store.put([state("ann")])
    assert path.with_name("p.sqlite-wal").stat().st_size
    other.replace(path)
    with pytest.raises(DataError, match=r"p\.sqlite-wal still held writes to the old one"):
        store.get(["bob"])
