"""Stage annotate: levels for the responses of cleaned posts, read by an annotator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from persona_rm.annotators.base import Annotator, Reading
from persona_rm.construct import records
from persona_rm.construct.records import PostRecord
from persona_rm.construct.stages.outcome import Outcome
from persona_rm.types import Comment, Drop, Levels

if TYPE_CHECKING:
    from persona_rm.construct.config import ConstructConfig


class Annotate:
    """Levels for posts; all responses of a batch are read in one call of the annotator."""

    def __init__(self, annotator: Annotator, config: ConstructConfig) -> None:
        self.annotator, self.config = annotator, config

    def __call__(self, rows: list[dict[str, Any] | None]) -> list[Outcome]:
        """The posts with the levels of their responses; a response that could not be read is dropped."""
        posts = [records.to_post(row) for row in rows if row]
        prompts = [post.thread.prompt for post in posts for _ in post.thread.comments]
        comments = [comment for post in posts for comment in post.thread.comments]
        readings = self.annotator.read(prompts, comments)
        again = self.annotator.read(prompts, comments, variant=1) if self.config.retest else readings
        both = list(zip(readings, again, strict=True))
        outcomes, begin = list[Outcome](), 0
        for post in posts:
            end = begin + len(post.thread.comments)
            outcomes.append(self._outcome(post, both[begin:end]))
            begin = end
        done = iter(outcomes)
        # Rows that were dropped before keep their places, and were not read.
        return [next(done) if row else Outcome() for row in rows]

    def _outcome(self, post: PostRecord, readings: Sequence[tuple[Reading, Reading]]) -> Outcome:
        kept: list[Comment] = []
        drops: list[Drop] = []
        counts = dict.fromkeys(("annotated", "cells", "confidence", "unsure", "unstable"), 0.0)
        for comment, (first, second) in zip(post.thread.comments, readings, strict=True):
            # With a re-test a level needs both readings.
            if error := first.error or second.error:
                drops.append(Drop("response", comment.id, f"not annotated: {error}"))
                continue
            kept.append(replace(comment, levels=self._settled(first, second, counts)))
        counts["annotated"] = float(len(kept))
        if not kept:
            return Outcome(None, [*drops, Drop("post", post.thread.id, "no usable response")], counts)
        return Outcome(
            records.from_post(replace(post, thread=replace(post.thread, comments=tuple(kept)))), drops, counts
        )

    def _settled(self, first: Reading, second: Reading, counts: dict[str, float]) -> Levels:
        """The levels with enough confidence that a second reading confirms; all others become level 2 (neutral)."""
        levels = []
        for level, other, confidence in zip(first.levels, second.levels, first.confidence, strict=True):
            # Without a re-test `second` is `first`, and nothing is unstable. A level that is both counts as unstable
            # only, so that the two counts add up to the levels that were made neutral.
            unstable, unsure = level != other, confidence < self.config.min_confidence
            counts["unstable"] += unstable
            counts["unsure"] += unsure and not unstable
            # Level 2 means "cannot reflect" (paper, section 4.1), so an uncertain reading votes for no pole.
            levels.append(2 if unstable or unsure else level)
        counts["cells"] += len(levels)
        counts["confidence"] += sum(first.confidence)
        return tuple(levels)
