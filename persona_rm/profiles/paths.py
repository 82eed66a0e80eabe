"""SCHEME:PATH, the form in which stores that are files are named."""

from pathlib import Path

from persona_rm.errors import DataError


def path_of(url: str) -> Path:
    """The path in SCHEME:PATH. Raises `DataError` where there is none."""
    scheme, _, rest = url.partition(":")
    if not rest or rest.startswith("//"):
        raise DataError(f"write {scheme}:PATH, the path without // before it; found {url!r}")
    return Path(rest)
