"""Stage clean: threads without unusable texts and personal data, and fingerprints for the search of duplicates."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from persona_rm.construct import records
from persona_rm.construct.cleaning.cleaner import Cleaner
from persona_rm.construct.cleaning.duplicates import exact_hash, signature
from persona_rm.construct.cleaning.pii import leaks
from persona_rm.construct.records import PostRecord
from persona_rm.construct.stages.outcome import Outcome
from persona_rm.types import Thread

if TYPE_CHECKING:
    from persona_rm.construct.config import ConstructConfig


class Clean:
    """`Cleaner` over rows of stage raw."""

    def __init__(self, config: ConstructConfig, salt: bytes) -> None:
        self.config, self.cleaner = config, Cleaner(config.clean, salt)

    def __call__(self, row: dict[str, Any]) -> Outcome:
        """The cleaned post with its fingerprints, or only the reasons why nothing of it goes on."""
        done = self.cleaner.clean(records.to_post(row).thread)
        counts = {f"pii {kind}": float(n) for kind, n in done.marks.items()}
        if done.thread is None:
            return Outcome(None, done.drops, counts)
        counts |= self._remaining(done.thread)
        return Outcome(records.from_post(PostRecord(done.thread)), done.drops, counts, self._prints(done.thread))

    def _remaining(self, thread: Thread) -> dict[str, float]:
        """The check that no personal data remains: the matches of a second search, by kind."""
        if not self.config.clean.pii:
            return {}
        texts = [thread.prompt, *(comment.text for comment in thread.comments)]
        matches = Counter[str]()
        for text in texts:
            matches.update(f"pii left {kind}" for kind in leaks(text))
        return {"searched": float(len(texts)), **{kind: float(n) for kind, n in matches.items()}}

    def _prints(self, thread: Thread) -> bytes:
        """Exact hashes of the post and its responses, then MinHash signatures: the post's if the split looks for
        near-duplicates, and the responses' too if cleaning does."""
        texts = [thread.prompt, *(comment.text for comment in thread.comments)]
        exact = np.array([exact_hash(text) for text in texts], np.uint64).tobytes()
        signed = texts if self.config.clean.near_duplicates is not None else texts[:1]
        if self.config.split.near_duplicates is None and len(signed) == 1:
            return exact
        # The order is the one in which `unique_stage` reads them back: hashes of all texts, then signatures.
        return exact + b"".join(signature(text, self.config.clean).tobytes() for text in signed)
