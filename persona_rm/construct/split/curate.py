"""Curation: a small training set (LIMA, arXiv 2305.11206) chosen for coverage of the space.

A set S of examples is worth

    f(S) = sum over cells c of sqrt(n_c(S))  +  sum over e in S of (items * min(k_e, full) / full + both * b_e)

with n_c(S) = how many pairs of S point the way of cell c = (dimension, direction), k_e = the most items of e's persona
that agree with its pair on one dimension (all of them, where the persona is consistent), b_e = 1 where it has UGC and
PAIR. The first sum has diminishing returns: the hundredth example of a cell adds a twentieth of the first. f is
monotone and submodular, so the greedy choice is worth at least 1 - 1/e of the best (Nemhauser et al., 1978), and a
gain computed earlier bounds the gain now: a heap of old gains is looked at from the top only (lazy greedy, Minoux,
1978). Gains are whole numbers of 2^-40, so sums and ties are the same on every machine; ties go to the smaller id.
"""

import heapq
from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt

from pydantic import Field

from persona_rm.config import Config
from persona_rm.types import Example

UNIT = 1 << 40


class CurateConfig(Config):
    """The value of an example beside the cells that it covers."""

    items: float = Field(1.0, ge=0)
    """Weight of the items that agree with the pair."""
    full: int = Field(32, ge=1)
    """This many agreeing items have the full value `items`: 16 UGC and 16 PAIR, the published persona."""
    both: float = Field(1.0, ge=0)
    """Value of having both components."""


@dataclass(frozen=True, slots=True)
class Curated:
    """The chosen ids, best first, how much each added to f, and how many of them each cell (dimension, direction)
    has."""

    ids: tuple[str, ...]
    gains: tuple[float, ...]
    cells: Mapping[tuple[int, int], int]


def curate(examples: Iterable[Example], n: int, config: CurateConfig | None = None) -> Curated:
    """The best `n` (all, where there are fewer); a function of the set of examples. An id that comes twice counts
    once. Of each example a few bytes are held: a cell number per non-neutral dimension."""
    rows = _Rows(config or CurateConfig())
    for example in examples:
        rows.add(example)
    return _greedy(rows, n)


class _Rows:
    """Light columns: row r's cells are `cells[starts[r]:starts[r + 1]]`; a cell is 2 * dimension + (way > 0)."""

    def __init__(self, config: CurateConfig) -> None:
        self.config = config
        self.numbers: dict[str, int] = {}
        # "H" holds cells up to 65,535, so 32,767 dimensions.
        self.starts, self.cells, self.own = array("Q", [0]), array("H"), array("Q")

    def add(self, example: Example) -> None:
        if example.id in self.numbers:
            return
        self.numbers[example.id] = len(self.numbers)
        self.cells.extend(2 * dimension + (way > 0) for dimension, way in enumerate(example.directions) if way)
        self.starts.append(len(self.cells))
        self.own.append(worth(example, self.config))

    def of(self, row: int) -> "array[int]":
        return self.cells[self.starts[row] : self.starts[row + 1]]


def worth(example: Example, config: CurateConfig) -> int:
    """What the example adds independently of the others: the second sum of f, in units of 2^-40."""
    # Beyond `full` further items add nothing, or long histories alone would decide.
    share = min(agreeing(example), config.full) / config.full
    both = bool(example.persona.ugc and example.persona.pairs)
    return round(UNIT * (config.items * share + config.both * both))


def agreeing(example: Example) -> int:
    """k_e: the most items that point the pair's way on one dimension on which it is not neutral."""
    known = [item.directions for item in example.persona.items if item.directions]
    columns = zip(*known, strict=True) if known else ()
    votes = [column.count(way) for way, column in zip(example.directions, columns, strict=False) if way]
    return max(votes, default=0)


def _step(count: int) -> int:
    """What one more example adds to a cell that has `count`, in units."""
    return round(UNIT * (sqrt(count + 1) - sqrt(count)))


def _greedy(rows: _Rows, n: int) -> Curated:
    """Lazy greedy: the top of the heap is chosen if its gain is what it was; else it goes back with what it is."""
    ids = sorted(rows.numbers)
    order = [rows.numbers[id_] for id_ in ids]
    counts = [0] * (max(rows.cells, default=0) + 1)
    steps = [_step(0)] * len(counts)
    # The first example of a cell adds `UNIT`, and no later one adds more, so these are upper bounds. The rank follows
    # the sorted ids, so of equal gains the smaller id is on top.
    heap = [(-rows.own[row] - len(rows.of(row)) * UNIT, rank) for rank, row in enumerate(order)]
    heapq.heapify(heap)
    chosen: list[tuple[str, float]] = []
    while heap and len(chosen) < n:
        bound, rank = heap[0]
        cells = rows.of(order[rank])
        gain = rows.own[order[rank]] + sum(map(steps.__getitem__, cells))
        # A gain never grows. If that of the top is still what the heap says, no other one can be larger.
        if -gain > bound:
            heapq.heapreplace(heap, (-gain, rank))
            continue
        heapq.heappop(heap)
        chosen.append((ids[rank], gain / UNIT))
        for cell in cells:
            counts[cell] += 1
            steps[cell] = _step(counts[cell])
    # Back from the cell's number, 2 * dimension + (way > 0).
    cells_of = {(cell // 2, 1 if cell % 2 else -1): count for cell, count in enumerate(counts) if count}
    return Curated(tuple(id_ for id_, _ in chosen), tuple(gain for _, gain in chosen), cells_of)
