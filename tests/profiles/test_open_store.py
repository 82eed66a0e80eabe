"""One text names a store."""

import subprocess
import sys

import pytest

from persona_rm.errors import DataError, UnknownName
from persona_rm.profiles import FORMS, PROFILES, open_store
from persona_rm.profiles.arrow import ArrowSnapshot, write_snapshot
from persona_rm.profiles.redis import RedisStore
from persona_rm.profiles.sqlite import SqliteStore
from persona_rm.types import UserState


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("arrow:{}/p.arrow", ArrowSnapshot),
        ("arrow:{}/p", ArrowSnapshot),
        ("{}/p.arrow", ArrowSnapshot),
        ("sqlite:{}/p.x", SqliteStore),
        ("{}/p.sqlite", SqliteStore),
        ("{}/deep/p.db", SqliteStore),
    ],
)
def test_a_url_or_a_path_opens_the_store(tmp_path, form, kind):
    if kind is ArrowSnapshot:
        write_snapshot(tmp_path / form.rpartition("/")[2], [])
    with open_store(form.format(tmp_path), create=True) as store:
        assert type(store) is kind
        assert len(store) == 0


def test_a_redis_url_opens_a_real_server(redis_port):
    with open_store(f"redis://127.0.0.1:{redis_port}/1") as store:
        assert type(store) is RedisStore
        store.put([UserState("vote", "a")])
        assert store.get(["a"]) == {"a": UserState("vote", "a")}


@pytest.mark.parametrize("url", ["postgres://u:s3cr3t@h/db", "s3cr3t", "s3cr3t.json", "", "s3cr3t://p.db"])
def test_another_form_says_what_there_is_and_shows_no_secret(url):
    with pytest.raises(UnknownName) as caught:
        open_store(url)
    assert FORMS in str(caught.value)
    assert "p.db" not in str(caught.value)
    assert "u:s3cr3t" not in str(caught.value)


@pytest.mark.parametrize("url", ["sqlite:", "arrow:", "sqlite:///tmp/x.db", "arrow://x.arrow"])
def test_a_path_is_written_plainly(url):
    with pytest.raises(DataError, match="the path without // before it"):
        open_store(url)


def test_every_name_of_the_table_loads():
    assert PROFILES.names() == ["arrow", "redis", "rediss", "sqlite"]
    assert {PROFILES.load(name).kind for name in PROFILES.names()} == {"arrow", "sqlite", "redis"}


def test_importing_the_profiles_loads_no_package_of_a_store():
    code = (
        "import sys, persona_rm.profiles, persona_rm.profiles.arrow, persona_rm.profiles.redis\n"
        "print([m for m in ('pyarrow', 'redis', 'sqlite3') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
