"""The common prefixes of rows as a tree. The tokens of a node are computed once for all rows below it."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from persona_rm.backends.tokens import Encoded

MIN_SHARED = 16
"""Minimum length of a shared prefix that gets a node of its own."""
MIN_SAVED = 64
"""Minimum number of tokens that a node must save over all its rows, because a node costs a forward pass."""


@dataclass(slots=True)
class PrefixNode:
    """Rows that agree in the ids before `end`. A leaf (no children) is one complete row.

    The `end` of an inner node lies before the last prompt token of each of its rows, because the state of that token
    predicts the response and is computed in the leaf.
    """

    rows: Sequence[int]
    end: int
    children: list["PrefixNode"] = field(default_factory=list)


def grow(rows: Sequence[Encoded], *, share: bool = True) -> list[PrefixNode]:
    """The roots of the forest over distinct rows; every row is one leaf. Without `share` there are only leaves.

    In sorted order, rows with a common prefix are neighbours, and the prefix of a range of rows is the minimum over
    its neighbouring pairs. So a range is cut where that minimum is reached, and each part is treated likewise.
    """
    if not share:
        return [PrefixNode((i,), len(ids)) for i, (ids, _) in enumerate(rows)]
    order = sorted(range(len(rows)), key=lambda i: rows[i])
    common = [_common(rows[a], rows[b]) for a, b in pairwise(order)]
    roots: list[PrefixNode] = []
    # A work list in place of recursion: a chain of nested prefixes may be deeper than Python's stack.
    todo = [(0, len(order), 0, roots)] if rows else []
    while todo:
        low, high, depth, siblings = todo.pop()
        if high - low == 1:
            siblings.append(PrefixNode((order[low],), len(rows[order[low]][0])))
            continue
        shared = min(common[low : high - 1])
        if worth(shared - depth, high - low):
            node = PrefixNode(order[low:high], shared)
            siblings.append(node)
            depth, siblings = shared, node.children
        # Neighbours that share no more than the prefix are parted here, and inside a part they share more. So the work
        # ends.
        cuts = [low, *(i + 1 for i in range(low, high - 1) if common[i] == shared), high]
        todo.extend((a, b, depth, siblings) for a, b in pairwise(cuts))
    return roots


def worth(tokens: int, rows: int) -> bool:
    """Whether computing `tokens` once for `rows` is worth a forward pass of its own."""
    return tokens >= MIN_SHARED and tokens * (rows - 1) >= MIN_SAVED


def _common(one: Encoded, other: Encoded) -> int:
    """Length of the common prefix, at most up to the last prompt token, whose state predicts the response."""
    # Whether two prefixes differ is monotone in their length, so a bisection finds the first difference. It compares
    # slices, which needs no loop over tokens in Python.
    (a, start), (b, other_start) = one, other
    return bisect_left(range(min(start, other_start) - 1), True, key=lambda i: a[: i + 1] != b[: i + 1])
