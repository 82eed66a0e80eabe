"""What rows have in common, as a tree: a node's tokens are read once for all rows below it."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from persona_rm.backends.tokens import Encoded

MIN_SHARED = 16
"""Fewer tokens in common are not worth a node."""
MIN_SAVED = 64
"""Nor are fewer tokens saved over all its rows: a node costs a forward pass."""


@dataclass(slots=True)
class PrefixNode:
    """Rows that agree up to `end`, which lies before each one's last prompt token. Without children: one whole row."""

    rows: Sequence[int]
    end: int
    children: list["PrefixNode"] = field(default_factory=list)


def grow(rows: Sequence[Encoded], *, share: bool = True) -> list[PrefixNode]:
    """The roots. `rows` are distinct; every row is one leaf. Without `share` there are only leaves."""
    if not share:
        return [PrefixNode((i,), len(ids)) for i, (ids, _) in enumerate(rows)]
    order = sorted(range(len(rows)), key=lambda i: rows[i])
    common = [_common(rows[a], rows[b]) for a, b in pairwise(order)]
    roots: list[PrefixNode] = []
    todo = [(0, len(order), 0, roots)] if rows else []
    while todo:
        low, high, depth, found = todo.pop()
        if high - low == 1:
            found.append(PrefixNode((order[low],), len(rows[order[low]][0])))
            continue
        shared = min(common[low : high - 1])
        if worth(shared - depth, high - low):
            node = PrefixNode(order[low:high], shared)
            found.append(node)
            depth, found = shared, node.children
        cuts = [low, *(i + 1 for i in range(low, high - 1) if common[i] == shared), high]
        todo.extend((a, b, depth, found) for a, b in pairwise(cuts))
    return roots


def worth(tokens: int, rows: int) -> bool:
    """Is it worth a forward pass of its own to read `tokens` once for `rows`?"""
    return tokens >= MIN_SHARED and tokens * (rows - 1) >= MIN_SAVED


def _common(one: Encoded, other: Encoded) -> int:
    """Equal ids at the beginning, at most up to the last prompt token, whose state predicts the response."""
    (a, start), (b, other_start) = one, other
    return bisect_left(range(min(start, other_start) - 1), True, key=lambda i: a[: i + 1] != b[: i + 1])
