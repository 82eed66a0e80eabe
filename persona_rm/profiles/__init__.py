"""Stores of user states: a snapshot for training, a file for one node, a server for a cluster."""

from pathlib import PurePath

from persona_rm.errors import UnknownName
from persona_rm.profiles.base import ProfileStore
from persona_rm.registry import Registry

PROFILES = Registry(
    "persona_rm.profiles",
    {
        "arrow": "persona_rm.profiles.arrow:ArrowSnapshot",
        "sqlite": "persona_rm.profiles.sqlite:SqliteStore",
        "redis": "persona_rm.profiles.redis:RedisStore",
        "rediss": "persona_rm.profiles.redis:RedisStore",
    },
)
ENDINGS = {".arrow": "arrow", ".sqlite": "sqlite", ".db": "sqlite"}
FORMS = (
    "arrow:PATH, sqlite:PATH, redis://HOST:PORT/DB (rediss:// with TLS), or a path that ends in .arrow, .sqlite, .db"
)


def open_store(url: str) -> ProfileStore:
    """Open the store that `url` names; `FORMS` lists the forms. A redis URL may end in `?namespace=NAME`.

    Raises `UnknownName` for another form, `DataError` if the store cannot be opened, and `MissingExtra` if its package
    is not installed.
    """
    scheme, colon, _ = url.partition(":")
    if colon and scheme in PROFILES.names():
        store: ProfileStore = PROFILES.load(scheme).from_url(url)
        return store.open()
    suffix = PurePath(url).suffix
    if suffix in ENDINGS and "://" not in url:
        return open_store(f"{ENDINGS[suffix]}:{url}")
    # The rest of an unknown URL may hold a password, so the message does not show it.
    shown = f"{scheme}:" if colon else f"a path that ends in {suffix!r}"
    raise UnknownName(f"no profile store of the form {shown}; there is: {FORMS}")


__all__ = ["PROFILES", "ProfileStore", "open_store"]
