"""Locks that a killed build of a torch extension left behind.

DeepSpeed compiles its operators when they are first needed, under a file lock (`torch.utils.file_baton`): the builder
holds it open, everybody else waits for it to go. A builder that was killed leaves it, and then the next job waits for
ever without a word. Linux tells who holds a file open: nobody, then nobody builds.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path


def remove_stale_locks(env: Mapping[str, str]) -> list[Path]:
    """Remove our user's locks that no process of this machine holds, and return them. A folder shared with other
    machines, where a build may run elsewhere, is named by TORCH_EXTENSIONS_DIR: it is left alone."""
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
    """Paths that processes hold open, as far as we may see: those of our user."""
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            yield str(descriptor.readlink())
        except OSError:  # the process, or the file, is gone by now
            continue
