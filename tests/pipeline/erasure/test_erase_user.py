"""A user is erased from a run with everything in it: nothing of the user is in any byte of any file afterwards."""

import asyncio
import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from persona_rm.bundle import User, load_bundle, write_bundle
from persona_rm.errors import DataError
from persona_rm.io.log_ids import LogIds
from persona_rm.pipeline.erasure import erase_user
from persona_rm.profiles.arrow import ArrowSnapshot, write_snapshot
from persona_rm.serving.actor.reward_actor import RewardActor
from persona_rm.serving.explanation import explain_logged
from persona_rm.types import Persona, RewardRequest, Ugc, UserState
from tests.profiles.store_samples import new_store

SECRET = "theodora keeps eleven ferrets in the attic"
KEYS = {
    "method": {"name": "pba_linear"},
    "annotator": {"name": "simulator"},
    "postprocess": {"standardise": "user", "minimum": 2, "monitor": True},
}


@pytest.fixture
def run(tmp_path, space):
    """A run with a bundle, a store, fitted states, logs, statistics and data in several formats."""
    folder, bundle = tmp_path / "run", tmp_path / "run" / "bundle"
    likes = space.parse("Likes Science")
    texts = {"theo": SECRET, "bob": "bob talks about the weather all day"}
    users = [
        User(Persona(name, tuple(Ugc("q", f"{text} {i}", likes) for i in range(3)))) for name, text in texts.items()
    ]
    new_store(bundle, "users.sqlite")
    write_bundle(bundle, users, relative_to=bundle, profiles="sqlite:users.sqlite", **KEYS)
    loaded = load_bundle(bundle)
    states = [loaded.user_states.stateful.state(name, loaded.user_states.tally(name)[0], 1) for name in texts]
    loaded.store.put(states)
    loaded.close()
    return folder


def data(folder):
    """Copies of data, as stages of a run write them."""
    rows = [{"user_id": name, "prompt": "q", "label": json.dumps({"user": name})} for name in ("theo", "bob", "theo")]
    nested = [{"thread": "t", "comments": [{"author": name, "text": name * 20} for name in ("theo", "bob")]}]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows + nested))
    (folder / "rows.jsonl").open("a").write('{"user": "theo", "text": "a line that was c')
    with gzip.open(folder / "packed.jsonl.gz", "wt") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)
    pq.write_table(pa.Table.from_pylist([{"body": json.dumps(row), "n": 1} for row in rows]), folder / "stage.parquet")
    with pa.OSFile(str(folder / "data-00000.arrow"), "wb") as sink:
        table = pa.Table.from_pylist(rows)
        with pa.ipc.new_stream(sink, table.schema) as out:
            out.write_table(table)
    write_snapshot(
        folder / "profiles.arrow",
        [UserState("m", name, {"t": f"{SECRET} of {name}" if name == "theo" else ""}) for name in ("theo", "bob")],
    )
    (folder / "theo.json").write_text(json.dumps({"user_id": "theo", "state": 1}))
    (folder / "summary.json").write_text(json.dumps({"by_user": {"theo": 1, "bob": 2}, "check": {"user": "theo"}}))
    (folder / "own.csv").write_text("user,text\ntheo,hello\nbob,hi\n")


def score(actor, *users):
    async def main():
        asked = [
            RewardRequest(user, "Hi", "i read physics.", request_id=f"{user}-{i}") for i, user in enumerate(users)
        ]
        return await asyncio.gather(*map(actor.score, asked))

    return asyncio.run(main())


def bytes_of(folder):
    """Everything below the folder; columns of Parquet and packed lines as text."""
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".gz":
            yield path, gzip.decompress(path.read_bytes())
        elif path.suffix == ".parquet":
            yield path, repr(pq.read_table(path).to_pylist()).encode() + path.read_bytes()
        elif path.is_file():
            yield path, path.read_bytes()


def test_nothing_of_the_user_is_in_any_file_afterwards_and_the_others_stay(run):
    data(run)
    actor = RewardActor(str(run / "bundle"), "reward-0", str(run))
    score(actor, "theo", "bob", "theo")
    asyncio.run(actor.close())
    logged = LogIds.existing(run).of("theo")
    before = {path.name for path, content in bytes_of(run) if b"theo" in content or logged.encode() in content}
    assert {
        "users.jsonl",
        "users.sqlite",
        "reward-0.jsonl",
        "reward-0.json",
        "rows.jsonl",
        "packed.jsonl.gz",
    } <= before
    assert {"stage.parquet", "data-00000.arrow", "profiles.arrow", "theo.json", "summary.json", "own.csv"} <= before

    report = erase_user(run, "theo")

    assert (report.left, report.problems) == ({}, [])
    for path, content in bytes_of(run):
        for secret in (b"theo", b"ferrets", logged.encode()):
            assert secret not in content, path
    assert [json.loads(line)["user_id"] for line in (run / "bundle" / "users.jsonl").open()] == ["bob"]
    assert [json.loads(line)["request_id"] for line in (run / "rewards" / "reward-0.jsonl").open()] == ["bob-1"]
    assert list(json.loads((run / "postprocess" / "reward-0.json").read_text())["own"]) == ["bob"]
    assert list(ArrowSnapshot(run / "profiles.arrow").ids()) == ["bob"]
    assert pq.read_table(run / "stage.parquet").num_rows == 1
    assert json.loads((run / "summary.json").read_text()) == {"by_user": {"bob": 2}, "check": None}
    assert [len(json.loads(line).get("comments", [])) for line in (run / "rows.jsonl").open()] == [0, 1]
    bundle = load_bundle(run / "bundle")
    assert (bundle.inferred("theo").status, bundle.inferred("bob").status) == ("erased", "ok")


def test_a_running_actor_notices_at_its_next_request(run):
    actor = RewardActor(str(run / "bundle"), "reward-0", str(run))
    known, *_ = score(actor, "theo", "bob", "theo")
    assert (known.trace.user_known, "theo" in actor.bundle.users) == (True, True)
    erase_user(run, "theo")
    (other,) = score(actor, "bob")
    assert other.trace.user_known
    assert "theo" not in actor.bundle.users
    assert not any(key[0] == "theo" for key in actor.bundle.user_states._cache)
    assert ("theo" in actor.postprocess.own, "theo" in actor.postprocess.monitor.drift.users) == (False, False)
    (unknown,) = score(actor, "theo")
    assert (unknown.trace.status, unknown.trace.user_known) == ("erased", False)
    asyncio.run(actor.close())
    logged = LogIds.existing(run).of("theo")
    for path, content in bytes_of(run):
        assert b"theo" not in content.replace(b"theo-0", b""), path
        assert logged.encode() not in content, path


def test_an_actor_that_ends_after_an_erasure_does_not_save_the_user_again(run):
    actor = RewardActor(str(run / "bundle"), "reward-0", str(run))
    score(actor, "theo", "bob")
    report = erase_user(run, "theo")
    assert report.logged_as == [actor.log_ids.of("theo")]
    asyncio.run(actor.close())
    saved = json.loads((run / "postprocess" / "reward-0.json").read_text())
    assert list(saved["own"]) == ["bob"]
    assert "theo" not in json.dumps(saved)
    asyncio.run(RewardActor(str(run / "bundle"), "reward-1", str(run)).close())


def test_who_is_nowhere_is_an_error_and_who_was_erased_before_is_none(run):
    with pytest.raises(
        DataError, match=r"'teo' is nowhere in this folder, so nothing was erased; did you mean 'theo'"
    ):
        erase_user(run, "teo")
    assert not list(run.rglob("erased.jsonl"))
    assert erase_user(run, "theo").removed
    again = erase_user(run, "theo")
    assert (again.removed, again.left, again.erased_before is None) == ({}, {}, False)


def test_a_dry_run_changes_nothing_and_what_cannot_be_changed_is_named(run):
    (run / "report.html").write_text(f"<p>theo: {SECRET}</p>")
    (run / "notes.txt").write_text(f"somebody said: {SECRET} 0")
    before = dict(bytes_of(run))
    report = erase_user(run, "theo", dry_run=True)
    assert {path.rpartition("/")[2] for path in report.left} == {"report.html", "users.jsonl", "users.sqlite"}
    assert dict(bytes_of(run)) == before
    left = erase_user(run, "theo").left
    assert {path.rpartition("/")[2]: says for path, says in left.items()} == {
        "report.html": "names the user",
        "notes.txt": "quotes a text of the user",
    }


def test_a_logged_request_of_a_known_user_is_explained_although_the_log_has_a_hash(run):
    actor = RewardActor(str(run / "bundle"), "reward-0", str(run))
    score(actor, "bob")
    assert b"bob" not in (run / "rewards" / "reward-0.jsonl").read_bytes().replace(b"bob-0", b"")
    explanation = explain_logged(run, "bob-0", run / "bundle")
    assert explanation.result.trace.user == "bob"
    assert explanation.inferred is not None


def test_plain_ids_are_an_option_of_the_bundle(run):
    file = run / "bundle" / "bundle.yaml"
    file.write_text(file.read_text() + "log_users: plain\n")
    actor = RewardActor(str(run / "bundle"), "reward-0", str(run))
    score(actor, "bob")
    assert json.loads((run / "rewards" / "reward-0.jsonl").read_text())["user"] == "bob"
    assert not list(run.rglob("log_ids.key"))
