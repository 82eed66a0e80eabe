"""Stage sides: the side of the split of each post, and its responses by authors of that side."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from persona_rm.construct import records
from persona_rm.construct.records import PostRecord
from persona_rm.construct.split.sides import SideRequest, Sides, apply
from persona_rm.construct.stages.outcome import Outcome


@dataclass(frozen=True)
class Sided:
    """Marks each post with its side and drops the responses by authors of the other side."""

    sides: Sides

    def __call__(self, row: dict[str, Any]) -> Outcome:
        post = records.to_post(row)
        thread, drops = apply(post.thread, self.sides)
        if thread is None:
            return Outcome(None, drops)
        return Outcome(records.from_post(PostRecord(thread, post.group, self.sides.thread(thread.id))), drops)


def sides_of(rows: Iterable[dict[str, Any]], share: float, seed: int) -> Sides:
    """The split of annotated posts: `share` of the components are on the test side."""
    requests = (SideRequest(row["id"], row["group"], row["author"]) for row in rows)
    return Sides.of(requests, seed, share)
