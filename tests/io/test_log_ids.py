"""User ids in logs: hashes under a key that stays with the logs."""

import stat
from concurrent.futures import ThreadPoolExecutor

import pytest

from persona_rm.errors import DataError
from persona_rm.io.log_ids import HASHED, KEY_FILE, LogIds


def test_one_folder_has_one_key_that_only_its_owner_reads(tmp_path):
    with ThreadPoolExecutor(8) as threads:
        every = list(threads.map(lambda _: LogIds.in_folder(tmp_path / "run"), range(40)))
    assert len({ids.of("ann") for ids in every}) == 1
    assert stat.S_IMODE((tmp_path / "run" / KEY_FILE).stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "run").iterdir()] == [KEY_FILE]
    assert LogIds.in_folder(tmp_path / "other").of("ann") != every[0].of("ann")


@pytest.mark.parametrize("user", ["ann", "u 17", "a'b", 'a"b', "Zo\u00eb", "\ud800", "x\ny"])
def test_an_id_and_a_message_that_names_it_have_the_same_hash(user):
    ids = LogIds(b"a key")
    assert HASHED.fullmatch(ids.of(user))
    for before in ("user ", "the user ", "this user: ", "users "):
        assert ids.hide(f"{before}{user!r} has no state") == f"{before}{ids.of(user)} has no state"
    both = ids.hide(f"users {user!r}, 'bob' and 'cid' differ")
    assert both == f"users {ids.of(user)}, {ids.of('bob')} and {ids.of('cid')} differ"


def test_other_quoted_words_stay():
    assert LogIds(b"k").hide("the method 'pba', key 'user'") == "the method 'pba', key 'user'"


def test_plain_ids_are_an_option_and_the_user_of_a_hash_is_found_among_candidates(tmp_path):
    plain, ids = LogIds.in_folder(tmp_path, plain=True), LogIds(b"k")
    assert (plain.of("ann"), plain.hide("user 'ann'")) == ("ann", "user 'ann'")
    assert not list(tmp_path.iterdir())
    assert ids.user_of(ids.of("bob"), ["ann", "bob"]) == "bob"
    assert ids.user_of(ids.of("eve"), ["ann", "bob"]) is None


def test_a_damaged_key_is_refused_and_a_folder_that_takes_no_file_costs_a_warning(tmp_path, caplog):
    (tmp_path / KEY_FILE).write_text("abc")
    with pytest.raises(DataError, match="no key for the user ids of logs"):
        LogIds.in_folder(tmp_path)
    file = tmp_path / "file"
    file.write_text("")
    assert HASHED.fullmatch(LogIds.in_folder(file / "run").of("ann"))
    assert "no key for user ids can be kept in" in caplog.text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", KEY_FILE]
