"""The records that stages of construction exchange through Parquet: posts, pairs, examples and drops as JSON.

Levels are a string of digits ("2213"), directions one of signs ("+0-"), so that 90 dimensions are 90 characters.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from persona_rm.types import Comment, Directions, Drop, Example, Levels, Pair, Persona, Thread, Ugc, content_id

SIGNS = "-0+"
Body = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PostRecord:
    """A thread between two stages: `group` is one name for all near-duplicates of its post, `side` train or test."""

    thread: Thread
    group: str = ""
    side: str = "train"


@dataclass(frozen=True, slots=True)
class LabelledPair:
    """Two responses of one post, from different clusters, and the direction that choosing the first shows."""

    post: str
    chosen: Comment
    rejected: Comment
    directions: Directions

    def mirrored(self) -> "LabelledPair":
        """The choice of a user of the opposite views."""
        return LabelledPair(self.post, self.rejected, self.chosen, tuple(-d for d in self.directions))


@dataclass(frozen=True, slots=True)
class PostPairs:
    """The preference pairs of a post; the thread carries no comments any more."""

    post: PostRecord
    pairs: tuple[LabelledPair, ...]


def post_name(post: PostRecord) -> str:
    """One name for posts that say (nearly) the same."""
    return post.group or content_id(post.thread.prompt)


def noted(drops: Sequence[Drop], counts: Mapping[str, float]) -> str:
    """JSON of what a stage reports about a row beside its record: the drops, and other counts."""
    return json.dumps([[[drop.what, drop.id, drop.reason] for drop in drops], counts], ensure_ascii=False)


def notes(text: str) -> tuple[list[Drop], dict[str, float]]:
    """The inverse of `noted`."""
    drops, counts = json.loads(text)
    return [Drop(*drop) for drop in drops], counts


def from_post(post: PostRecord) -> dict[str, Any]:
    """JSON of a post."""
    body = {field: getattr(post.thread, field) for field in ("id", "source", "prompt", "author", "created")}
    comments = [from_comment(comment) for comment in post.thread.comments]
    return body | {"comments": comments, "group": post.group, "side": post.side}


def to_post(body: Body) -> PostRecord:
    """The inverse of `from_post`."""
    plain = {field: body[field] for field in ("id", "source", "prompt", "author", "created")}
    return PostRecord(Thread(comments=tuple(map(to_comment, body["comments"])), **plain), body["group"], body["side"])


def from_comment(comment: Comment) -> dict[str, Any]:
    """JSON of a comment, without the fields that are None."""
    body = {key: value for key, value in asdict(comment).items() if value is not None}
    return body if comment.levels is None else body | {"levels": "".join(map(str, comment.levels))}


def to_comment(body: Body) -> Comment:
    """The inverse of `from_comment`."""
    return Comment(**{**body, "levels": levels(body.get("levels"))})


def levels(text: str | None) -> Levels | None:
    """ "2213" -> (2, 2, 1, 3)."""
    return None if text is None else tuple(map(int, text))


def signs(directions: Directions) -> str:
    """(1, 0, -1) -> "+0-"."""
    return "".join(SIGNS[way + 1] for way in directions)


def directions(text: str) -> Directions:
    """ "+0-" -> (1, 0, -1)."""
    return tuple(SIGNS.index(sign) - 1 for sign in text)


def from_pairs(pairs: PostPairs) -> dict[str, Any]:
    """JSON of a post's pairs."""
    rows = []
    for pair in pairs.pairs:
        sides = {"chosen": from_comment(pair.chosen), "rejected": from_comment(pair.rejected)}
        rows.append(sides | {"directions": signs(pair.directions)})
    return from_post(pairs.post) | {"pairs": rows}


def to_pairs(body: Body) -> PostPairs:
    """The inverse of `from_pairs`."""
    post = to_post(body)
    pairs = []
    for row in body["pairs"]:
        chosen, rejected = to_comment(row["chosen"]), to_comment(row["rejected"])
        pairs.append(LabelledPair(post.thread.prompt, chosen, rejected, directions(row["directions"])))
    return PostPairs(post, tuple(pairs))


def from_example(example: Example) -> dict[str, Any]:
    """JSON of an example."""
    persona = example.persona
    return {
        **{key: getattr(example, key) for key in ("id", "prompt", "chosen", "rejected", "source", "group")},
        "directions": signs(example.directions),
        "extra": dict(example.extra),
        "user_id": persona.user_id,
        "demo": persona.demo,
        "ugc": [_item(item) for item in persona.ugc],
        "pairs": [_item(item) for item in persona.pairs],
    }


def _item(item: Ugc | Pair) -> dict[str, Any]:
    body = {key: value for key, value in asdict(item).items() if value is not None}
    return body if item.directions is None else body | {"directions": signs(item.directions)}


def to_example(body: Body) -> Example:
    """The inverse of `from_example`."""
    ugc = tuple(Ugc(**_read(item)) for item in body["ugc"])
    pairs = tuple(Pair(**_read(item)) for item in body["pairs"])
    plain = {key: body[key] for key in ("id", "prompt", "chosen", "rejected", "source", "group", "extra")}
    persona = Persona(body["user_id"], ugc, pairs, body["demo"])
    return Example(directions=directions(body["directions"]), persona=persona, **plain)


def _read(item: Body) -> dict[str, Any]:
    return {**item, "directions": directions(item["directions"])} if "directions" in item else dict(item)
