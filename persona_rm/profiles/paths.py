"""SCHEME:PATH, the form of the URL of a store that is a file."""

from pathlib import Path

from persona_rm.errors import DataError


def path_of(url: str) -> Path:
    """The path in SCHEME:PATH. Raises `DataError` if there is none."""
    scheme, _, rest = url.partition(":")
    if not rest or rest.startswith("//"):
        raise DataError(f"write {scheme}:PATH, the path without // before it; found {url!r}")
    return Path(rest)
