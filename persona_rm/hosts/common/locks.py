"""Locks that a killed build of a torch extension left behind.

DeepSpeed compiles its operators when they are first needed, under a file lock (`torch.utils.file_baton`): the process
that builds keeps the lock file open, and the others wait until it is deleted. If the builder is killed, the file stays
and every later job waits for ever without a message. Linux tells which files are open: a lock file that no process
holds open belongs to no build.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path


def remove_stale_locks(env: Mapping[str, str]) -> list[Path]:
    """Remove the locks of this system user that no process of this machine holds, and return their paths.

    If TORCH_EXTENSIONS_DIR is set nothing is removed: that folder may be shared with other machines, where a build can
    be running.
    """
    if "TORCH_EXTENSIONS_DIR" in env:
        return []
    cache = Path(env.get("XDG_CACHE_HOME") or Path(env.get("HOME", "~")).expanduser() / ".cache")
    mine = [lock for lock in cache.glob("torch_extensions/*/*/lock") if lock.stat().st_uid == os.getuid()]
    held = set(_open_files()) if mine else set()
    stale = [lock for lock in mine if str(lock.resolve()) not in held]
    for lock in stale:
        lock.unlink(missing_ok=True)
    return stale


def _open_files() -> Iterator[str]:
    """Paths that processes hold open, as far as permissions let us see: those of this system user."""
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            yield str(descriptor.readlink())
        except OSError:  # the process ended or closed the file meanwhile
            continue
