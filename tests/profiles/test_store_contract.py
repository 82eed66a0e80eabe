"""What every profile store promises, run over a snapshot, a file and a real Redis server."""

import hashlib
import json
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from persona_rm.errors import DataError, StaleWrite
from persona_rm.profiles.base import read_state
from persona_rm.types import UserState

SECRET = "my sister's wedding"
ODD = ["a", "a\0", "ä", "日本", "x' OR 1=1 --", "{x}:*", "line\nbreak", " ", "a" * 600]
"""Ids that a careless store mixes up."""


def state(user_id, version=1, **payload) -> UserState:
    return UserState("vote", user_id, {"demo": SECRET, **payload}, n_items=2, version=version)


def refusal(call, *args, **options) -> str:
    """The error's whole text, with what it was raised from: no word of a state may stand in it."""
    with pytest.raises(DataError) as caught:
        call(*args, **options)
    error: BaseException | None = caught.value
    while error is not None:
        assert "sister" not in str(error) + repr(vars(error))
        assert not hasattr(error, "doc"), "json's errors carry the whole text"
        error = error.__cause__ or error.__context__
    return str(caught.value)


def test_get_gives_what_is_there_in_the_order_asked(case):
    states = [state("b", likes=[1, 2.5, None]), state("a", nested={"x": {"y": "ü"}}), state("c", version=7)]
    store = case.fill(states)
    found = store.get(["c", "unknown", "a", "c"])
    assert list(found) == ["c", "a"]
    assert found == {"c": states[2], "a": states[1]}
    assert store.get([]) == store.get(["unknown"]) == {}
    assert len(store) == 3
    assert sorted(store.ids()) == ["a", "b", "c"]


def test_ids_are_never_mixed_up(case):
    store = case.fill([state(user, n=i) for i, user in enumerate(ODD)])
    assert {user: found.payload["n"] for user, found in store.get(ODD).items()} == dict(
        zip(ODD, range(9), strict=True)
    )
    assert store.get(["A", "a\0\0", "", "%", "*"]) == {}
    assert sorted(store.ids()) == sorted(ODD)
    assert store.erase(["a"]) == 1
    assert sorted(store.ids()) == sorted(ODD[1:])


def test_more_users_than_one_query_holds(case):
    states = [state(f"user-{i}", n=i) for i in range(2500)]
    store = case.fill(states)
    assert list(store.get([s.user_id for s in reversed(states)]).values()) == states[::-1]
    assert len(store) == len(list(store.ids())) == 2500
    assert store.erase([f"user-{i}" for i in range(0, 2500, 2)]) == 1250
    assert {int(user[5:]) % 2 for user in store.ids()} == {1}
    assert len(store.erased([f"user-{i}" for i in range(2500)])) == 1250


def test_another_opening_sees_the_same(case):
    case.fill([state("a"), state("b")]).close()
    store = case.open()
    assert store.get(["a"]) == {"a": state("a")}
    store.erase(["a"])
    with case.open() as third:
        assert third.get(["a", "b"]) == {"b": state("b")}
        assert third.erased(["a", "b"]).keys() == {"a"}


def test_an_open_store_honours_what_another_one_erases(case):
    store, other = case.fill([state("a"), state("b")]), case.open()
    assert store.get(["a"])
    assert other.erase(["a"]) == 1
    assert store.get(["a", "b"]) == {"b": state("b")}
    assert (len(store), list(store.ids())) == (1, ["b"])


def test_an_empty_store(case):
    store = case.fill([])
    assert (len(store), list(store.ids()), store.get(["a"]), store.erased(["a"])) == (0, [], {}, {})
    assert store.erase([]) == store.erase(["a"]) == 0


def test_erase_counts_users_with_a_state_and_remembers_all_of_them(case):
    store = case.fill([state("a"), state("b")])
    before = datetime.now(UTC).date()
    assert store.erase(["a", "ghost", "a"]) == 1
    assert store.erase(["a"]) == 0
    found = store.erased(["ghost", "a", "b"])
    assert list(found) == ["ghost", "a"]
    assert all(before <= date.fromisoformat(day) <= datetime.now(UTC).date() for day in found.values())
    assert (len(store), store.get(["a", "b"])) == (1, {"b": state("b")})


def test_export_is_plain_json_of_everything(case):
    store = case.fill([state("a", version=3, likes=["x"])])
    found = store.export("a")
    assert json.loads(json.dumps(found)) == found
    assert found["state"] == json.loads(state("a", version=3, likes=["x"]).to_json())
    assert "'b' has no state" in refusal(store.export, "b")
    store.erase(["a"])
    assert f"'a' was erased on {datetime.now(UTC).year}" in refusal(store.export, "a")


def test_one_text_is_no_list_of_ids(case):
    store = case.fill([state("a"), state("b")])
    for call in (store.get, store.erase, store.erased):
        assert "put it in a list" in refusal(call, "ab")
        assert "user id must be" in refusal(call, ["\ud800"])
        assert "user id must be" in refusal(call, [3])
    assert len(store) == 2


def test_a_store_shows_where_it_is_and_opens_again_after_close(case):
    store = case.fill([state("a")])
    assert store.where in repr(store)
    store.close()
    store.close()
    assert store.get(["a"]) == {"a": state("a")}


# ---- what only stores that change promise


def test_put_inserts_replaces_and_never_goes_back(writable):
    store = writable.fill([state("a", version=2)])
    store.put([state("a", version=2, again=1)])
    store.put([state("a", version=5), state("b")])
    assert store.get(["a", "b"]) == {"a": state("a", version=5), "b": state("b")}
    said = refusal(store.put, [state("a", version=4)])
    assert "version 4 of user 'a' came after version 5" in said
    assert "adapt it" in said
    assert store.get(["a"])["a"].version == 5


def test_of_two_states_of_a_user_in_one_put_the_later_wins(writable):
    store = writable.fill([state("a"), state("a", version=2)])
    assert store.get(["a"])["a"].version == 2
    assert "follows version 9 in one put" in refusal(store.put, [state("a", version=9), state("a", version=8)])


BAD = {
    "none": (state(None), "a state without a user id"),
    "empty": (state(""), "a state without a user id"),
    "stale": (state("old", version=1), "came after version 3"),
    "erased": (state("gone"), "user 'gone' was erased on 20"),
    "not JSON": (state("new", what={SECRET}), "user 'new': the payload is no JSON"),
    "not a number": (state("new", what=float("nan")), "numbers must be finite"),
    "half a character": (state("new", what="\udc80"), "texts UTF-8"),
    "half an id": (state("\udc80"), "user id must be"),
    "version": (state("new", version=1.5), "a version is a whole number"),
    "negative": (state("new", version=-1), "a version is a whole number"),
    "too large": (state("new", version=2**53), "a version is a whole number"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_state_in_the_middle_changes_nothing(writable, name):
    bad, problem = BAD[name]
    store = writable.fill([state("first"), state("old", version=3), state("gone")])
    store.erase(["gone"])
    before = store.get(["first", "old", "last", "new", "gone"])
    assert problem in refusal(store.put, [state("first", version=2), bad, state("last")])
    assert store.get(["first", "old", "last", "new", "gone"]) == before
    assert len(store) == 2
    store.put([state("first", version=2), state("last")])
    assert len(store) == 3


def test_an_erased_user_comes_back_only_when_readmitted(writable):
    store = writable.fill([state("a", version=5), state("b")])
    store.erase(["a"])
    said = refusal(store.put, [state("a", version=6)])
    assert "readmit=True" in said
    store.put([state("a"), state("b")], readmit=True)
    assert store.get(["a"]) == {"a": state("a")}, "the old version is forgotten too"
    assert store.erased(["a"]) == {}
    store.put([state("a", version=2)])
    assert "stale" in refusal(store.put, [state("a")], readmit=True)
    assert store.erase(["a"]) == 1
    refusal(store.put, [state("a", version=3)])


def test_a_user_erased_before_their_first_state_is_refused_too(writable):
    store = writable.fill([])
    store.erase(["a"])
    assert "was erased" in refusal(store.put, [state("a")])
    assert len(store) == 0


def test_a_state_that_was_read_before_another_write_is_refused(writable):
    store = writable.fill([state("a", version=2)])
    store.put([state("a", version=3)], read={"a": 2})
    said = refusal(store.put, [state("a", version=3)], read={"a": 2})
    assert "version 2 of user 'a' was read, and there is version 3 by now" in said
    assert "no state of user 'a' was read" in refusal(store.put, [state("a", version=4)], read={"a": 0})
    assert "there is no state by now" in refusal(store.put, [state("b")], read={"b": 1})
    assert "`read` must hold the version" in refusal(store.put, [state("a", version=4), state("b")], read={"a": 3})
    store.put([state("a", version=4), state("b")], read={"a": 3, "b": 0})
    assert {user: found.version for user, found in store.get(["a", "b"]).items()} == {"a": 4, "b": 1}


UPDATES, WRITERS = 50, 4
WRITER = """
import sys
from pathlib import Path
from persona_rm.profiles import open_store
from persona_rm.types import UserState

with open_store(sys.argv[1], create=True) as store:
    Path(sys.argv[2] + ".ready").touch()
    while not Path(sys.argv[3]).exists():
        pass
    for number in range(int(sys.argv[4])):
        def update():
            old = store.get(["a"]).get("a")
            version, seen = (old.version, old.payload["seen"]) if old else (0, [])
            new = UserState("vote", "a", {"seen": [*seen, f"{sys.argv[2]}/{number}"]}, version=version + 1)
            store.put([new], read={"a": version})
        store.retry_stale(update)
"""


def test_no_update_of_several_processes_is_lost(writable, tmp_path):
    store = writable.fill([])
    url = f"sqlite:{store.path}" if store.kind == "sqlite" else f"{store.where}?namespace={store.namespace}"
    names, go = [str(tmp_path / str(n)) for n in range(WRITERS)], tmp_path / "go"
    given = [[sys.executable, "-c", WRITER, url, name, str(go), str(UPDATES)] for name in names]
    writers = [subprocess.Popen(command) for command in given]
    while not all(Path(f"{name}.ready").exists() for name in names):
        assert all(writer.poll() is None for writer in writers)
        time.sleep(0.01)
    go.touch()
    assert [writer.wait(120) for writer in writers] == [0] * WRITERS
    last = store.get(["a"])["a"]
    assert last.version == UPDATES * WRITERS
    assert sorted(last.payload["seen"]) == sorted(f"{name}/{n}" for name in names for n in range(UPDATES))


def test_a_write_that_is_always_too_late_ends(writable):
    store = writable.fill([state("a", version=5)])
    with pytest.raises(StaleWrite, match="there is version 5 by now"):
        store.retry_stale(lambda: store.put([state("a", version=6)], read={"a": 1}), seconds=0.05)


def test_large_versions_are_compared_exactly(writable):
    store = writable.fill([state("a", version=2**53 - 1)])
    assert "stale" in refusal(store.put, [state("a", version=2**53 - 2)])


# ---- reading what another hand or version wrote

GOOD = json.loads(state("a").to_json())
BROKEN = {
    "no JSON": (b'{"method": "my sister', "is no state"),
    "no UTF-8": (b"\xff\xfe", "is no state"),
    "a list": (b'["my sister"]', "is no state"),
    "deep": (b"[" * 100_000, "is no state"),
    "newer": (json.dumps(GOOD | {"my sister": 1}).encode(), "1 unknown fields"),
    "older": (json.dumps({k: v for k, v in GOOD.items() if k != "n_items"}).encode(), "lacks n_items"),
    "kind": (json.dumps(GOOD | {"version": "1"}).encode(), "of another kind"),
    "payload": (json.dumps(GOOD | {"payload": "my sister"}).encode(), "of another kind"),
    "other": (json.dumps(GOOD | {"user_id": "b"}).encode(), "belongs to another user"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_stored_text_that_is_no_state_names_the_user_and_the_remedy(name):
    text, problem = BROKEN[name]
    said = refusal(read_state, "a", text, "here")
    assert problem in said
    assert said.startswith("here: user 'a'")
    assert "Put the state again, or erase the user" in said


def test_a_broken_text_in_a_store_breaks_that_user_only(writable):
    store = writable.fill([state("a"), state("b")])
    damage(store, "a", b'{"demo": "my sister')
    assert "user 'a': the stored text is no state" in refusal(store.get, ["b", "a"])
    assert store.get(["b"]) == {"b": state("b")}
    store.put([state("a", version=2)])
    assert store.get(["a"]) == {"a": state("a", version=2)}


def damage(store, user_id, text) -> None:
    if store.kind == "redis":
        store._client.hset(store._states, user_id, text)
    else:
        store._connection.execute("UPDATE states SET state = ? WHERE id = ?", (text, user_id))


@pytest.mark.parametrize(("layout", "what"), [("9", "update persona_rm"), ("0", "into a new store")])
def test_a_store_of_another_layout_is_refused(writable, layout, what):
    store = writable.fill([state("a")])
    if store.kind == "redis":
        store._client.set(store._schema, layout)
    else:
        store._connection.execute(f"PRAGMA user_version = {layout}")
    store.close()
    said = refusal(writable.open)
    assert f"layout {layout}; this version reads layout 1" in said
    assert what in said


def test_a_tombstone_is_a_hash_and_a_date(writable):
    store = writable.fill([state("a")])
    store.erase(["a"])
    if store.kind == "redis":
        (found,) = store._client.hgetall(store._erased).items()
    else:
        (found,) = store._connection.execute("SELECT sha256, date FROM erased").fetchall()
    assert found[0].decode() == hashlib.sha256(b"a").hexdigest()
    assert found[1].decode() == store.erased(["a"])["a"]


def test_states_of_other_kinds_come_back_equal(case):
    cold = UserState("prior", "cold")
    rich = replace(state("rich"), payload={"vector": [0.1] * 90, "deep": {"k": [{"x": None}, True, "\u2028"]}})
    assert case.fill([cold, rich]).get(["cold", "rich"]) == {"cold": cold, "rich": rich}
