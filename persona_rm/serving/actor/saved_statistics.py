"""The running statistics of an actor's post-processing, kept on disk so that a restarted actor continues with them."""

import time
from collections.abc import Callable, Set
from pathlib import Path

from persona_rm.serving.optional_writes import SAVED_STATISTICS, OptionalWrites
from persona_rm.serving.postprocess import Postprocessor

STATISTICS = "postprocess"
"""The subfolder of a run that holds a file of statistics per actor."""
SAVE_SECONDS = 60.0
"""Seconds between two saves. An actor that is killed loses as much; one that ends in order loses nothing."""


class SavedStatistics:
    """Loads the statistics of `postprocess` from `path` and saves them there. None: they live as long as the actor."""

    def __init__(
        self,
        path: Path | None,
        postprocess: Postprocessor,
        writes: OptionalWrites,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path if postprocess.config.on else None
        self.postprocess, self.writes, self.clock = postprocess, writes, clock
        self._saved, self._counted = clock(), postprocess.applied
        if self.path is not None and self.path.is_file():
            postprocess.load(self.path)

    def save_if_due(self) -> None:
        """Save if the last save is `SAVE_SECONDS` ago."""
        if self.clock() - self._saved >= SAVE_SECONDS:
            self.save()

    def save(self) -> None:
        """Save what changed since the last save. A failure is counted and reported, and costs no reward."""
        self._saved = self.clock()
        if self.path is not None and self.postprocess.applied != self._counted:
            path, self._counted = self.path, self.postprocess.applied
            self.writes.attempt(SAVED_STATISTICS, lambda: self.postprocess.save(path))

    def forget(self, sha256s: Set[str]) -> None:
        """Forget users by the hashes of their ids, also in the file."""
        self.postprocess.forget_hashes(sha256s)
        self._counted = -1
        self.save()
