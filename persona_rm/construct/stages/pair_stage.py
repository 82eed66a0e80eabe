"""Stage pair: the preference pairs of annotated posts."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from persona_rm.construct import records
from persona_rm.construct.pairing.pairs import pairs
from persona_rm.construct.records import LabelledPair, PostPairs, PostRecord
from persona_rm.construct.stages.outcome import Outcome, RowsToOutcomes
from persona_rm.types import Drop

if TYPE_CHECKING:
    from persona_rm.construct.config import ConstructConfig


def pair_rows(config: ConstructConfig, seed: int) -> RowsToOutcomes:
    """A function from annotated posts to their pairs; the posts of a batch are clustered together."""

    def work(rows: list[dict[str, Any] | None]) -> list[Outcome]:
        posts = [records.to_post(row) for row in rows if row]
        results = pairs([post.thread for post in posts], config, seed)
        outcomes = iter([_outcome(post, result) for post, result in zip(posts, results, strict=True)])
        return [next(outcomes) if row else Outcome() for row in rows]

    return work


def _outcome(post: PostRecord, result: tuple[LabelledPair, ...] | Drop) -> Outcome:
    if isinstance(result, Drop):
        return Outcome(None, [result])
    # The pairs carry the responses that the next stages need; the others would only make the rows larger.
    bare = replace(post, thread=replace(post.thread, comments=()))
    return Outcome(records.from_pairs(PostPairs(bare, result)))
