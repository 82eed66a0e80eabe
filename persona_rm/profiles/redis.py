"""User states on a Redis (or Valkey) server: for a cluster of machines that read and write at low latency.

Four keys under `persona_rm:{NAMESPACE}:` hold everything: `schema`, and the hashes `states`, `versions` (by user id)
and `erased` (by sha256). The braces are a hash tag of Redis: they put all four keys into one slot of a Redis cluster,
so that one script can access all of them. A batch is read in one round trip. Erased states stay in the server's dumps
and append-only file until it rewrites them (BGSAVE, BGREWRITEAOF).
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Self, TypeVar
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from persona_rm.errors import DataError, MissingExtra, StoreDown
from persona_rm.profiles.base import SCHEMA, ProfileStore, Record, check_schema

T = TypeVar("T")
NAMESPACE = re.compile(r"[\w.-]{1,100}", re.ASCII)
CODE = re.compile(r"[A-Z]{2,20}\b")
"""The word at the start of an error of Redis. The text behind it may quote arguments, so it is not shown."""
SCHEMES = ("redis", "rediss")
PORT = 6379
MANY = 1000
CONNECT_S, ANSWER_S = 5.0, 30.0
PUT = """
local states, versions, erased, readmit = KEYS[1], KEYS[2], KEYS[3], ARGV[1] == '1'
for i = 2, #ARGV, 5 do
  local date = redis.call('HGET', erased, ARGV[i + 1])
  if date and not readmit then return {'erased', (i - 2) / 5, date} end
  local stored = redis.call('HGET', versions, ARGV[i]) or '0'
  local read = ARGV[i + 4]
  if read ~= '' and tonumber(read) ~= tonumber(stored) then return {'changed', (i - 2) / 5, stored} end
  if tonumber(stored) > tonumber(ARGV[i + 2]) then return {'stale', (i - 2) / 5, stored} end
end
for i = 2, #ARGV, 5 do
  redis.call('HSET', states, ARGV[i], ARGV[i + 3])
  redis.call('HSET', versions, ARGV[i], ARGV[i + 2])
  redis.call('HDEL', erased, ARGV[i + 1])
end
return {'ok', 0, ''}
"""
"""Checks all states first and then writes them. A script runs alone, so all of it takes effect or none.

The first write must be one that a server without free memory rejects: after a script has written once, Redis lets it
finish."""


class RedisStore(ProfileStore):
    """The states of `namespace` on the server that redis://[USER:PASSWORD@]HOST[:PORT][/DB] names."""

    kind = "redis"

    def __init__(self, url: str, namespace: str = "default") -> None:
        self._url = _split(url)
        super().__init__(_shown(self._url))
        if not NAMESPACE.fullmatch(namespace):
            raise DataError("a namespace is letters, digits, '.', '_' and '-'", file=self.where)
        self.namespace = namespace
        prefix = f"persona_rm:{{{namespace}}}:"
        self._schema, self._erased = prefix + "schema", prefix + "erased"
        self._states, self._versions = prefix + "states", prefix + "versions"
        self._client: Any = None

    @classmethod
    def from_url(cls, url: str) -> Self:
        """redis://[USER:PASSWORD@]HOST[:PORT][/DB][?namespace=NAME], or rediss:// with TLS."""
        plain, _, query = url.partition("?")
        told = dict(parse_qsl(query, keep_blank_values=True))
        namespace = told.pop("namespace", "default")
        if told:
            raise DataError("after ? a redis URL takes namespace=NAME only", file=_shown(_split(plain)))
        return cls(plain, namespace)

    def open(self) -> Self:
        """Connect, and write the layout if the namespace is new."""
        if self._client is None:
            client = _client(self._url)
            layout = self._ask(lambda: client.get(self._schema))
            if layout is None:
                # Two clients may open a new namespace at once: the first one to write the layout wins, and both read
                # it.
                self._ask(lambda: client.set(self._schema, SCHEMA, nx=True))
                layout = self._ask(lambda: client.get(self._schema))
            check_schema(layout.decode(errors="replace"), self.where)
            self._client = client
        return self

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
        self._client = None

    def ids(self) -> Iterator[str]:
        """In no order."""
        seen: set[bytes] = set()  # a hash that grows during the scan may show a field twice
        cursor: int | None = None
        while cursor != 0:
            cursor, part = self._ask(partial(self._opened().hscan, self._versions, cursor or 0, count=MANY))
            new = part.keys() - seen
            seen |= new
            yield from (user_id.decode() for user_id in new)

    def __len__(self) -> int:
        return int(self._ask(lambda: self._opened().hlen(self._states)))

    def _read(self, wanted: Mapping[str, str]) -> dict[str, bytes]:
        return self._fields(self._states, list(wanted))

    def _read_with_dates(self, wanted: Mapping[str, str]) -> tuple[dict[str, bytes], dict[str, str]]:
        users, sha256s = list(wanted), list(wanted.values())
        texts, dates = dict[str, bytes](), dict[str, str]()
        for start in range(0, len(users), MANY):
            part = slice(start, start + MANY)
            # One transaction for each part: a user is in one of them with both the state and the tombstone.
            pipe = self._opened().pipeline(transaction=True)
            pipe.get(self._schema)
            pipe.hmget(self._states, users[part])
            pipe.hmget(self._erased, sha256s[part])
            layout, states, stones = self._ask(pipe.execute)
            if layout is None:
                # Without this, all users of a server that was emptied or replaced would be unknown.
                raise StoreDown("the store is not in the Redis server any more; it is waited for", file=self.where)
            texts |= {user: text for user, text in zip(users[part], states, strict=True) if text is not None}
            dates |= {key: date.decode() for key, date in zip(sha256s[part], stones, strict=True) if date is not None}
        return texts, dates

    def _write(self, rows: Sequence[Record], readmit: bool, read: Mapping[str, int] | None) -> None:
        given: list[Any] = []
        for row in rows:
            given += [row.user_id, row.sha256, row.version, row.text, "" if read is None else read[row.user_id]]
        keys = [self._states, self._versions, self._erased]
        status, place, value = self._ask(
            lambda: self._opened().register_script(PUT)(keys=keys, args=[int(readmit), *given])
        )
        # The script answers with the place of the state that it refused; `ok` comes with place 0.
        row = rows[place]
        if status == b"erased":
            self._forgotten(row.user_id, value.decode())
        if status == b"changed" and read is not None:
            self._changed(row.user_id, read[row.user_id], int(value))
        if status == b"stale":
            self._stale(row.user_id, row.version, int(value))

    def _remove(self, wanted: Mapping[str, str], date: str) -> int:
        # One transaction: no reader finds the state gone and no tombstone yet.
        pipe = self._opened().pipeline(transaction=True)
        pipe.hdel(self._states, *wanted)
        pipe.hdel(self._versions, *wanted)
        for sha256 in wanted.values():
            # Set only if there is none: an older tombstone keeps its date.
            pipe.hsetnx(self._erased, sha256, date)
        return int(self._ask(pipe.execute)[0])

    def _dates(self, sha256s: Sequence[str]) -> dict[str, str]:
        return {sha256: date.decode() for sha256, date in self._fields(self._erased, sha256s).items()}

    def _fields(self, key: str, names: Sequence[str]) -> dict[str, bytes]:
        """The fields of a hash that exist, in one round trip."""
        if not names:
            return {}
        pipe = self._opened().pipeline(transaction=False)
        # Redis runs one command at a time, so a single one for all names would keep other clients waiting.
        for start in range(0, len(names), MANY):
            pipe.hmget(key, names[start : start + MANY])
        values = (value for part in self._ask(pipe.execute) for value in part)
        return {name: value for name, value in zip(names, values, strict=True) if value is not None}

    def _opened(self) -> Any:
        self.open()
        return self._client

    def _ask(self, work: Callable[[], T]) -> T:
        """The server's answer. Its errors become `DataError` without their text, which may quote what was sent; one
        that a retry may cure becomes `StoreDown`."""
        # The `DataError` is raised outside of the `except` block: there it would carry Redis's error as its context,
        # and a log of the traceback would show its text.
        package = _package()
        # ConnectionError is the parent of errors about the password too, and a retry does not cure those.
        passing = (package.exceptions.TimeoutError, package.exceptions.ConnectionError)
        lasting = (package.exceptions.AuthenticationError, package.exceptions.AuthorizationError)
        try:
            return work()
        except package.RedisError as error:
            code = CODE.match(str(error))
            problem = f"{type(error).__name__}{f' ({code.group()})' if code else ''}"
            kind = StoreDown if isinstance(error, passing) and not isinstance(error, lasting) else DataError
        raise kind(
            f"the Redis server failed: {problem}. Check that it runs and that this user may write", file=self.where
        )


def _split(url: str) -> SplitResult:
    """The parts of a URL. Raises `DataError`, which does not show the URL, because it may hold a password."""
    try:
        parts = urlsplit(url)
        good = parts.scheme in SCHEMES and parts.hostname and (parts.port or PORT)
    except ValueError:
        good = False
    if good and not parts.query and not parts.fragment and re.fullmatch(r"(/\d*)?", parts.path):
        return parts
    raise DataError(
        "not a Redis URL; write redis://HOST:PORT/DB (in a password, %40 stands for @, %2F for /, %23 for #)"
    )


def _shown(url: SplitResult) -> str:
    return f"{url.scheme}://{url.hostname}:{url.port or PORT}/{url.path.strip('/') or 0}"


def _client(url: SplitResult) -> Any:
    package = _package()
    return package.Redis(
        host=url.hostname,
        port=url.port or PORT,
        db=int(url.path.strip("/") or 0),
        username=unquote(url.username) if url.username else None,
        password=unquote(url.password) if url.password else None,
        ssl=url.scheme == "rediss",
        socket_connect_timeout=CONNECT_S,
        socket_timeout=ANSWER_S,
        retry=package.retry.Retry(package.backoff.ExponentialBackoff(cap=0.5, base=0.05), 2),
    )


def _package() -> Any:
    try:
        import redis.backoff
        import redis.exceptions
        import redis.retry
    except ImportError as error:
        raise MissingExtra("a Redis store needs redis: pip install persona_rm[profiles]") from error
    return redis
