"""Stores of user states: a snapshot for training, a file for one node, a server for a cluster."""

from pathlib import Path, PurePath

from persona_rm.config import did_you_mean
from persona_rm.errors import DataError, UnknownName
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


def open_store(url: str, *, create: bool = False) -> ProfileStore:
    """Open the store that `url` names; `FORMS` lists the forms. A redis URL may end in `?namespace=NAME`.

    A store that is a file must be there, unless `create` makes an empty one: a reader of a misspelt path would
    otherwise find no user and no error.

    Raises `UnknownName` for another form, `DataError` if the store cannot be opened, and `MissingExtra` if its package
    is not installed.
    """
    scheme, colon, _ = url.partition(":")
    if colon and scheme in PROFILES.names():
        store: ProfileStore = PROFILES.load(scheme).from_url(url)
        path = getattr(store, "path", None)
        if path is not None and not create and not path.exists():
            raise _missing(path)
        return store.open()
    suffix = PurePath(url).suffix
    if suffix in ENDINGS and "://" not in url:
        return open_store(f"{ENDINGS[suffix]}:{url}", create=create)
    # The rest of an unknown URL may hold a password, so the message does not show it.
    shown = f"{scheme}:" if colon else f"a path that ends in {suffix!r}"
    raise UnknownName(f"no profile store of the form {shown}; there is: {FORMS}")


def _missing(path: Path) -> DataError:
    """The error of a store that is not there, with the stores beside it."""
    beside = sorted(p.name for p in path.parent.glob("*") if p.suffix in ENDINGS) if path.parent.is_dir() else []
    there = f"stores beside it: {', '.join(beside)}" if beside else "no store is beside it"
    do = "`persona-rm infer` and `persona-rm ask` write one, and open_store(URL, create=True) makes an empty one"
    return DataError(f"there is no profile store here ({there}{did_you_mean(path.name, beside)}): {do}", file=path)


__all__ = ["PROFILES", "ProfileStore", "open_store"]
