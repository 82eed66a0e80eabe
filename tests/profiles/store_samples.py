"""Stores that a test begins with."""

from persona_rm.profiles import open_store


def new_store(folder, name="p.sqlite") -> str:
    """An empty SQLite store in the folder; returns its URL relative to the folder, as a bundle names it."""
    open_store(f"sqlite:{folder / name}", create=True).close()
    return f"sqlite:{name}"
