"""The Redis store against a real server: secrets, namespaces, servers that are not there or refuse."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis.crc import key_slot

from persona_rm.errors import DataError, MissingExtra, StoreDown
from persona_rm.profiles import open_store
from persona_rm.profiles.redis import RedisStore
from persona_rm.types import UserState

PASSWORD = "s3cr3t"


def state(user_id, version=1, **payload) -> UserState:
    return UserState("vote", user_id, payload, n_items=1, version=version)


@pytest.fixture(scope="module")
def locked_port(start_redis) -> int:
    return start_redis("--requirepass", PASSWORD)[0]


def told(call, kind=DataError) -> str:
    """What the error says, and those that it was raised from."""
    with pytest.raises(kind) as caught:
        call()
    error, said = caught.value, list[str]()
    while error is not None:
        said.append(f"{error} {vars(error)}")
        error = error.__cause__ or error.__context__
    return "\n".join(said)


def test_keys_stand_under_one_prefix_in_one_slot(redis_case):
    store = redis_case.fill([state("a"), state("b")])
    store.erase(["b"])
    prefix = f"persona_rm:{{{store.namespace}}}:".encode()
    names = {prefix + name for name in (b"schema", b"states", b"versions", b"erased")}
    assert {key for key in store._client.scan_iter() if key.startswith(prefix)} == names
    assert len({key_slot(key) for key in names}) == 1


def test_namespaces_do_not_see_each_other(redis_port):
    url = f"redis://127.0.0.1:{redis_port}/3"
    with open_store(f"{url}?namespace=one") as one, open_store(f"{url}?namespace=two") as two, open_store(url) as none:
        one.put([state("a", of="one")])
        two.put([state("a", of="two")])
        two.erase(["a"])
        assert one.get(["a"])["a"].payload == {"of": "one"}
        assert (len(one), len(two), len(none)) == (1, 0, 0)
    assert "namespace is letters" in told(lambda: RedisStore(url, "a b"))
    assert "namespace=NAME only" in told(lambda: open_store(f"{url}?decode_responses=1"))


def test_a_password_opens_and_is_never_shown(locked_port):
    url = f"redis://:{PASSWORD}@127.0.0.1:{locked_port}/0"
    with open_store(url) as store:
        store.put([state("a")])
        assert PASSWORD not in repr(store) + str(store) + store.where
        assert PASSWORD not in told(lambda: store.export("b"))
        store._client.set(store._states + "x", 1)
    wrong = told(lambda: open_store(f"redis://:{PASSWORD}x@127.0.0.1:{locked_port}/0"))
    missing = told(lambda: open_store(f"redis://127.0.0.1:{locked_port}/0"))
    assert f"redis://127.0.0.1:{locked_port}/0: the Redis server failed: Authentication" in wrong
    assert "the Redis server failed" in missing
    assert PASSWORD not in wrong + missing


@pytest.mark.parametrize(
    "rest",
    [
        f"//u:{PASSWORD}#1@h/0",
        f"//:{PASSWORD}/x@h",
        f"//:p@{PASSWORD}:port/0",
        "",
        "//",
        f"//h/{PASSWORD}",
        "//h:99999",
    ],
)
def test_a_url_that_cannot_be_read_is_not_shown(rest):
    said = told(lambda: RedisStore.from_url("redis:" + rest))
    assert "redis://HOST:PORT/DB" in said
    assert PASSWORD not in said


def test_a_server_that_is_not_there(start_redis):
    port, process = start_redis()
    store = RedisStore(f"redis://:{PASSWORD}@127.0.0.1:{port}/0").open()
    store.put([state("a")])
    process.terminate()
    process.wait(10)
    for call in (
        lambda: store.get(["a"]),
        lambda: store.put([state("b")]),
        lambda: store.erase(["a"]),
        store.ids().__next__,
    ):
        said = told(call, StoreDown)
        assert f"redis://127.0.0.1:{port}/0: the Redis server failed: ConnectionError" in said
        assert PASSWORD not in said


def test_a_server_that_is_full_takes_none_of_them(start_redis):
    port, _ = start_redis("--maxmemory", "3mb", "--maxmemory-policy", "noeviction")
    with RedisStore(f"redis://127.0.0.1:{port}/0") as store:
        store.put([state("a")])
        failed = None
        for i in range(100):
            try:
                store.put([state(f"{i}-{j}", text="my sister " * 1000) for j in range(10)])
            except DataError as error:
                failed = i, str(error)
                break
        assert failed is not None
        assert "OutOfMemoryError" in failed[1]
        assert "sister" not in failed[1]
        assert len(store) == 1 + 10 * failed[0]
        assert store.get([f"{failed[0]}-0"]) == {}


def test_another_use_of_the_keys_is_told_without_what_was_sent(redis_case):
    store = redis_case.fill([])
    store._client.set(store._versions, "text")
    said = told(lambda: store.put([state("a", text="my sister")]))
    assert "the Redis server failed: ResponseError" in said
    assert "sister" not in said
    assert store._client.exists(store._states) == 0


def test_writers_at_once_lose_nothing_and_only_one_takes_a_version(redis_case):
    store = redis_case.fill([state("shared")])

    def work(number: int) -> int:
        own = redis_case.open()
        raised = 0
        for i in range(25):
            own.put([state(f"{number}-{i}-{j}") for j in range(4)])
            try:
                own.put([state("shared", version=own.get(["shared"])["shared"].version + 1)])
                raised += 1
            except DataError:  # another one took it
                continue
        return raised

    with ThreadPoolExecutor(4) as pool:
        raised = list(pool.map(work, range(4)))
    assert len(store) == 4 * 25 * 4 + 1
    assert 1 < store.get(["shared"])["shared"].version <= 1 + sum(raised)


def test_without_the_package_the_command_is_told(monkeypatch):
    store = RedisStore("redis://127.0.0.1:1/0")
    for name in ("redis", "redis.backoff", "redis.retry"):
        monkeypatch.setitem(sys.modules, name, None)
    for call in (store.open, lambda: store.get(["a"]), lambda: len(store)):
        with pytest.raises(MissingExtra, match=r"pip install persona_rm\[profiles\]"):
            call()


def test_constructing_opens_nothing():
    store = RedisStore("rediss://user:word@nowhere.invalid:1/7")
    assert repr(store) == "RedisStore('rediss://nowhere.invalid:1/7')"
