"""AlignX_test (paper, C.1 and Table 7): test cases for every dimension and direction, as many for each.

A case of a cell (dimension, direction) is an example whose pair points that way on that dimension, and whose persona
does: the majority of its UGC does, the majority of its PAIR does, and each has enough items that do to draw from. An
example serves one cell. Cells choose in the order of how few examples they could have, each in a seeded order of ids,
so the result is a function of the set of examples. A cell that falls short is said to.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import NamedTuple

from pydantic import Field

from persona_rm.config import Config
from persona_rm.space import PreferenceSpace
from persona_rm.types import Directions, Example, Pair, Persona, Ugc, content_id

WORDS = {1: "positive", -1: "negative"}


class TestConfig(Config):
    """The published setting: 3,716 cases over 180 cells, 4 items of each kind."""

    __test__ = False
    per_cell: int = Field(20, ge=1)
    n_ugc: int = Field(4, ge=0)
    n_pairs: int = Field(4, ge=0)


class Cell(NamedTuple):
    """A dimension by its position, and a direction, -1 or 1."""

    dimension: int
    way: int


@dataclass(frozen=True, slots=True)
class CellCount:
    """The counts of a cell: eligible examples, chosen examples, and how many were wanted."""

    dimension: str
    direction: str
    eligible: int
    chosen: int
    wanted: int

    @property
    def short(self) -> int:
        """How many are missing."""
        return self.wanted - self.chosen


@dataclass(frozen=True, slots=True)
class TestSet:
    """The test cases and the table of their cells, in the order of the space."""

    __test__ = False
    examples: tuple[Example, ...]
    cells: tuple[CellCount, ...]

    @property
    def short(self) -> tuple[CellCount, ...]:
        """The cells that fell short."""
        return tuple(cell for cell in self.cells if cell.short)


def build(read: Callable[[], Iterable[Example]], config: TestConfig, space: PreferenceSpace, seed: int) -> TestSet:
    """The test set from the examples of the test side.

    `read` gives them afresh at each of two calls: the first pass keeps ids and cells, the second the chosen examples
    only, so that a file of any size can be read. An id that comes twice counts once.
    """
    eligible = _eligible(read(), config, len(space))
    chosen = _choose(eligible, config.per_cell, seed)
    left, cases = dict(chosen), {}
    for example in read():
        # Popped, so that a second example of the same id is not taken.
        if cell := left.pop(example.id, None):
            cases[example.id] = trimmed(example, cell, config, space, seed)
    ordered = sorted(chosen, key=lambda id_: (chosen[id_].dimension, -chosen[id_].way, id_))
    return TestSet(tuple(cases[id_] for id_ in ordered), _table(eligible, chosen, config, space))


@dataclass(frozen=True, slots=True)
class _Eligible:
    """Ids, and per cell the numbers of the examples that could serve it."""

    ids: list[str]
    cells: dict[Cell, "array[int]"]


def _eligible(examples: Iterable[Example], config: TestConfig, dimensions: int) -> _Eligible:
    # In the order of the space, which the table of the cells keeps.
    cells = {Cell(dimension, way): array("L") for dimension in range(dimensions) for way in (1, -1)}
    numbers: dict[str, int] = {}
    for example in examples:
        if example.id in numbers:
            continue
        numbers[example.id] = len(numbers)
        for cell in cells_of(example, config):
            cells[cell].append(numbers[example.id])
    return _Eligible(list(numbers), cells)


def cells_of(example: Example, config: TestConfig) -> Iterator[Cell]:
    """The cells that the example could serve."""
    ugc = _votes(example.persona.ugc, len(example.directions))
    pairs = _votes(example.persona.pairs, len(example.directions))
    for dimension, way in enumerate(example.directions):
        if not way:
            continue
        of_ugc = _enough(ugc[dimension], way, len(example.persona.ugc), config.n_ugc)
        if of_ugc and _enough(pairs[dimension], way, len(example.persona.pairs), config.n_pairs):
            yield Cell(dimension, way)


def _votes(items: Sequence[Ugc | Pair], dimensions: int) -> list[tuple[int, int]]:
    """Per dimension how many items point (up, down); items without directions are not counted."""
    known = [item.directions for item in items if item.directions]
    return [(column.count(1), column.count(-1)) for column in zip(*known, strict=True)] or [(0, 0)] * dimensions


def _enough(votes: tuple[int, int], way: int, size: int, least: int) -> bool:
    """At least `least` point this way, and they are the majority: more than the opposite and than the neutral."""
    # What is left of `size` are neutral items and items without directions: neither supports the cell.
    agree, oppose = votes if way > 0 else votes[::-1]
    return agree >= least and (not least or agree > max(oppose, size - agree - oppose))


def _choose(eligible: _Eligible, per_cell: int, seed: int) -> dict[str, Cell]:
    """Greedy: the rarest cell first, each with the first of its examples (in seeded order) that no other cell has."""
    order = sorted(range(len(eligible.ids)), key=lambda n: content_id(str(seed), "test set", eligible.ids[n]))
    rank = {number: place for place, number in enumerate(order)}
    taken: dict[str, Cell] = {}
    for cell, numbers in sorted(eligible.cells.items(), key=lambda entry: (len(entry[1]), entry[0])):
        free = (id_ for n in sorted(numbers, key=rank.__getitem__) if (id_ := eligible.ids[n]) not in taken)
        # The range comes first in `zip`, so no id is drawn from `free` after the last one that is wanted.
        taken |= {id_: cell for _, id_ in zip(range(per_cell), free, strict=False)}
    return taken


def trimmed(example: Example, cell: Cell, config: TestConfig, space: PreferenceSpace, seed: int) -> Example:
    """The case: `n_ugc` and `n_pairs` items that point the cell's way, drawn per (seed, example id, cell)."""
    name = space.ids[cell.dimension]
    random = Random(f"{seed}/test set/{example.id}/{name}/{cell.way}")
    # `cells_of` made sure that enough items point this way; `sample` would raise for too few.
    ugc = random.sample([item for item in example.persona.ugc if _points(item.directions, cell)], config.n_ugc)
    pairs = random.sample([item for item in example.persona.pairs if _points(item.directions, cell)], config.n_pairs)
    persona: Persona = replace(example.persona, ugc=tuple(ugc), pairs=tuple(pairs))
    extra = {**example.extra, "dimension": name, "direction": WORDS[cell.way]}
    return replace(example, persona=persona, extra=extra)


def _points(directions: Directions | None, cell: Cell) -> bool:
    return directions[cell.dimension] == cell.way if directions else False


def _table(
    eligible: _Eligible, chosen: dict[str, Cell], config: TestConfig, space: PreferenceSpace
) -> tuple[CellCount, ...]:
    counts = dict.fromkeys(eligible.cells, 0)
    for cell in chosen.values():
        counts[cell] += 1
    return tuple(
        CellCount(space.ids[cell.dimension], WORDS[cell.way], len(numbers), counts[cell], config.per_cell)
        for cell, numbers in eligible.cells.items()
    )
