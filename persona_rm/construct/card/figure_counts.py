"""Figures of a whole job in one pass: counts fed row by row, merged in any order, exact, and of bounded size.

Every sum is a whole number, so shards may be counted apart, in any order, on any machine: `merge` gives the same
figures as one pass, to the last digit. `state` is plain JSON, for a tally that is kept beside its shard.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from persona_rm.config import Config
from persona_rm.construct.pairing.rules import consistent, majority
from persona_rm.errors import DataError
from persona_rm.types import MIDDLE, Directions, Example

CountArray = npt.NDArray[np.int64]
Matrix = npt.NDArray[np.float64]
BLOCK = 1 << 16
"""Rows per matrix product. Sums of -1, 0 and 1 in float32 are exact up to 2^24 rows."""
STRONGEST = 20
HISTOGRAMS = ("n_ugc", "n_pairs", "non_neutral", "consistent", "agreed")
PARTS = {"ugc": ("UGC",), "pairs": ("PAIR",), "both": ("UGC", "PAIR"), "demo": ("DEMO",)}
NAMES = ("low", "none", "high")  # of levels 1, 2, 3
SIDES = ("negative", "positive")


class LevelFigures(Config):
    """The annotator's levels. Shares are over (response, dimension) cells; without responses they are absent."""

    responses: int
    shares: dict[str, float] = Field(description='low, none ("cannot reflect") and high.')
    read_by_dimension: dict[str, float]
    """Share of responses whose level is not "cannot reflect", the most read dimension first."""
    by_dimension: dict[str, dict[str, int]]
    """Responses of level low, none and high, in the order of the space."""
    constant: tuple[str, ...] = Field(description="Dimensions with one level throughout: they have no correlation.")
    strongest: tuple[tuple[str, str, float], ...] = Field(description="The largest by size: dimension, dimension, r.")
    below_half: float | None
    """Share of pairs of dimensions with |r| < 0.5, of those that have an r (paper, appendix E: 99.65 %)."""


class ExampleFigures(Config):
    """Figures of the examples. A mean or share over no example is None."""

    count: int = Field(description="examples")
    with_ugc: int = Field(description="personas with user-generated content")
    with_pairs: int = Field(description="personas with pair-wise feedback")
    with_both: int = Field(description="personas with both")
    with_demo: int = Field(description="personas with a description")
    without_directions: int = Field(description="pairs without any (outside sets); no direction figure counts them")
    inconsistent: int = Field(description="no dimension where pair and majorities of UGC and PAIR agree; must be 0")
    not_all_items: int = Field(description="no dimension on which every item points the pair's way: a stricter rule")
    unjudged: int = Field(description="items without directions: in no figure of consistency or majority")
    mean_ugc: float | None = Field(description="UGC items")
    mean_pairs: float | None = Field(description="PAIR items")
    mean_non_neutral: float | None = Field(description="dimensions on which the pair is not neutral")
    mean_agreed: float | None = Field(description="of these, where pair and majorities of UGC and of PAIR agree")
    mean_consistent: float | None = Field(description="of these, where every item points the pair's way")
    mean_majority_same: float | None = Field(description="of these, where most items point the pair's way")
    mean_majority_opposite: float | None = Field(description="of these, where most items point the other way")
    chosen_longer: float | None = Field(description="length bias: share of pairs whose chosen text is the longer one")
    same_length: float | None = Field(description="share of pairs with texts of one length")
    mean_chosen_chars: float | None = Field(description="characters")
    mean_rejected_chars: float | None = Field(description="characters")
    by_source: dict[str, int] = Field(description="Table 1: the largest first.")
    by_persona: dict[str, int] = Field(description='Which parts the persona has ("UGC + PAIR + DEMO") -> examples.')
    by_dimension: dict[str, dict[str, int]]
    """Table 7: pairs whose direction is positive and negative, in the order of the space."""
    consistent_by_dimension: dict[str, dict[str, int]]
    """The same, where all items of the persona point the pair's way."""
    n_ugc: dict[int, int] = Field(description="Size -> examples; so are the next four.")
    n_pairs: dict[int, int]
    non_neutral: dict[int, int]
    consistent: dict[int, int]
    agreed: dict[int, int]


def ranked(counter: Counter[str]) -> dict[str, int]:
    """The most frequent first; of equals, by name, so that the order of the rows does not matter."""
    return dict(sorted(counter.items(), key=lambda entry: (-entry[1], entry[0])))


class LevelTally:
    """Levels of responses on D dimensions: counts (3, D) and products (D, D) of level - 2, which is -1, 0 or 1."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self.counts: CountArray = np.zeros((len(NAMES), dimensions), np.int64)
        self.products: CountArray = np.zeros((dimensions, dimensions), np.int64)

    @property
    def n(self) -> int:
        """How many responses were counted."""
        return int(self.counts[:, :1].sum())

    def add(self, levels: npt.ArrayLike | Sequence[Sequence[int]]) -> None:
        """Count a chunk, (n, D) whole numbers 1 to 3. Raises DataError for others, and has then counted nothing."""
        table = self._checked(levels)
        for begin in range(0, len(table), BLOCK):
            block = table[begin : begin + BLOCK]
            self.counts += np.stack([np.count_nonzero(block == level, axis=0) for level in (1, 2, 3)])
            signed = block.astype(np.float32) - MIDDLE
            self.products += (signed.T @ signed).astype(np.int64)

    def _checked(self, levels: npt.ArrayLike | Sequence[Sequence[int]]) -> npt.NDArray[Any]:
        try:
            table = np.asarray(levels)
        except ValueError as error:
            raise DataError(f"levels are (n, {self.dimensions}) whole numbers: {error}") from error
        if not len(table):
            return table.reshape(0, self.dimensions)
        if table.ndim != 2 or table.shape[1] != self.dimensions or table.dtype.kind not in "iu":
            raise DataError(f"levels are (n, {self.dimensions}) whole numbers, found {table.dtype} {table.shape}")
        if (low := int(table.min())) < 1 or (high := int(table.max())) > len(NAMES):
            raise DataError(f"a level is 1, 2 or 3, found {low if low < 1 else high}")
        return table

    def merge(self, other: "LevelTally") -> None:
        """Add what another tally counted."""
        _same_size(self.dimensions, other.dimensions)
        self.counts += other.counts
        self.products += other.products

    def correlation(self) -> Matrix:
        """Pearson's r of the levels (as numbers), (D, D); nan where a dimension is constant (Figure 4)."""
        totals = (self.counts[2] - self.counts[0]).astype(object)  # Python's integers, which do not overflow
        covariance = (self.n * self.products.astype(object) - np.outer(totals, totals)).astype(np.float64)
        spread = np.sqrt(np.diag(covariance))
        with np.errstate(invalid="ignore", divide="ignore"):
            matrix: Matrix = np.clip(covariance / np.outer(spread, spread), -1.0, 1.0)
        matrix[spread == 0], matrix[:, spread == 0] = np.nan, np.nan
        return matrix

    def shares(self) -> dict[str, float]:
        """Shares of levels 1, 2, 3 over all (response, dimension) cells; {} where nothing was counted."""
        total = int(self.counts.sum())
        sums = zip(NAMES, self.counts.sum(1).tolist(), strict=True)
        return {name: round(count / total, 4) for name, count in sums} if total else {}

    def read_by_dimension(self, ids: Sequence[str]) -> dict[str, float]:
        """Share of responses that say something on a dimension, the most read first; {} where nothing was counted."""
        if not self.n:
            return {}
        read = ((self.counts[0] + self.counts[2]) / self.n).round(4).tolist()
        return dict(sorted(zip(ids, read, strict=True), key=lambda entry: -entry[1]))

    def figures(self, ids: Sequence[str]) -> LevelFigures:
        """Everything that the card says about levels. `ids`: of the dimensions, in order."""
        _same_size(self.dimensions, len(ids))
        matrix = self.correlation()
        return LevelFigures(
            responses=self.n,
            shares=self.shares(),
            read_by_dimension=self.read_by_dimension(ids),
            by_dimension=_named(self.counts, NAMES, ids),
            constant=tuple(i for i, r in zip(ids, np.diag(matrix), strict=True) if np.isnan(r)),
            **_pairs_of_dimensions(matrix, ids),
        )

    def correlation_csv(self, ids: Sequence[str]) -> str:
        """The matrix as CSV with ids as head and first column; a constant dimension's cells are empty."""
        rows = zip(ids, self.correlation().tolist(), strict=True)
        lines = [",".join([i, *("" if r != r else f"{r:.6f}" for r in row)]) for i, row in rows]
        return "\n".join([",".join(["dimension", *ids]), *lines]) + "\n"

    def state(self) -> dict[str, Any]:
        """Plain JSON; `from_state` is the inverse."""
        return {"counts": self.counts.tolist(), "products": self.products.tolist()}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "LevelTally":
        """The tally that `state` described."""
        tally = cls(len(state["products"]))
        tally.counts += np.asarray(state["counts"], np.int64)
        tally.products += np.asarray(state["products"], np.int64).reshape(tally.products.shape)
        return tally


def _same_size(ours: int, theirs: int) -> None:
    if ours != theirs:
        raise DataError(f"a tally of {ours} dimensions cannot be joined with {theirs}: they are of different spaces")


def _pairs_of_dimensions(matrix: Matrix, ids: Sequence[str]) -> dict[str, Any]:
    """The strongest correlations of two dimensions, and the share of weak ones."""
    rows, columns = np.triu_indices(len(ids), 1)
    known = ~np.isnan(matrix[rows, columns])
    rows, columns, values = rows[known], columns[known], matrix[rows, columns][known]
    order = np.argsort(-np.abs(values), kind="stable")[:STRONGEST].tolist()
    weak = int(np.count_nonzero(np.abs(values) < 0.5))
    strongest = tuple((ids[rows[i]], ids[columns[i]], round(float(values[i]), 4)) for i in order)
    return {"strongest": strongest, "below_half": _share(weak, len(values), 4)}


class ExampleTally:
    """Examples of D dimensions, counted by split. Memory: splits x (sources + D + persona sizes)."""

    def __init__(self, dimensions: int) -> None:
        self.dimensions = dimensions
        self.splits: dict[str, _Split] = {}

    def add(self, example: Example, split: str = "train") -> None:
        """Count one example. Raises DataError if directions are not of D dimensions."""
        self.splits.setdefault(split, _Split(self.dimensions)).add(example)

    def merge(self, other: "ExampleTally") -> None:
        """Add what another tally counted."""
        _same_size(self.dimensions, other.dimensions)
        for name, split in other.splits.items():
            self.splits.setdefault(name, _Split(self.dimensions)).restore(split.state())

    def figures(self, ids: Sequence[str], split: str | None = None) -> ExampleFigures:
        """The figures of a split, or of all of them. `ids`: of the dimensions, in order."""
        _same_size(self.dimensions, len(ids))
        total = _Split(self.dimensions)
        for name, part in self.splits.items():
            if split in (None, name):
                total.restore(part.state())
        return total.figures(ids)

    def state(self) -> dict[str, Any]:
        """Plain JSON; `from_state` is the inverse."""
        return {"dimensions": self.dimensions, "splits": {name: part.state() for name, part in self.splits.items()}}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "ExampleTally":
        """The tally that `state` described."""
        tally = cls(state["dimensions"])
        for name, part in state["splits"].items():
            tally.splits[name] = _Split(tally.dimensions)
            tally.splits[name].restore(part)
        return tally


class _Split:
    """The counts of one split: sums of whole numbers, histograms, and directions (2, D), negative first."""

    def __init__(self, dimensions: int) -> None:
        self.sums: Counter[str] = Counter()
        self.by: dict[str, Counter[str]] = {"source": Counter(), "persona": Counter()}
        self.histograms: dict[str, Counter[int]] = {name: Counter() for name in HISTOGRAMS}
        self.tables: dict[str, CountArray] = {n: np.zeros((2, dimensions), np.int64) for n in ("pair", "consistent")}

    def add(self, example: Example) -> None:
        persona, sides, said = example.persona, (len(example.chosen), len(example.rejected)), self._said(example)
        parts = {"UGC": persona.ugc, "PAIR": persona.pairs, "DEMO": persona.demo.strip()}
        self.by["source"][example.source] += 1
        self.by["persona"][" + ".join(name for name, part in parts.items() if part) or "empty"] += 1
        self.histograms["n_ugc"][len(persona.ugc)] += 1
        self.histograms["n_pairs"][len(persona.pairs)] += 1
        self.sums.update(count=1, chosen_chars=sides[0], rejected_chars=sides[1])
        self.sums["longer"] += int(sides[0] > sides[1])
        self.sums["same_length"] += int(sides[0] == sides[1])
        if example.directions:
            self._directions(example.directions, said)
        else:
            self.sums["without_directions"] += 1

    def _said(self, example: Example) -> list[list[Directions]]:
        """The directions of the UGC and of the PAIR items, checked before anything is counted."""
        sides, size = (example.persona.ugc, example.persona.pairs), self.tables["pair"].shape[1]
        said = [[item.directions for item in side if item.directions is not None] for side in sides]
        if wrong := [len(row) for row in chain((example.directions or (0,) * size,), *said) if len(row) != size]:
            raise DataError(f"example {example.id!r} has {wrong[0]} directions, the space has {size} dimensions")
        return said

    def _directions(self, ways: Directions, parts: Sequence[Sequence[Directions]]) -> None:
        said = list(chain(*parts))
        active = [d for d, way in enumerate(ways) if way]
        self.histograms["non_neutral"][len(active)] += 1
        self._place("pair", ways, active)
        if not said:
            self.sums["unjudged"] += 1
            return
        strict = consistent(ways, said)
        self.histograms["consistent"][len(strict)] += 1
        self._place("consistent", ways, strict)
        # UGC and PAIR are judged apart, as in the paper's consistency (section 4): each must agree with the pair.
        votes = [_votes(ways, part, active) for part in parts if part]
        self.histograms["agreed"][sum(min(vote) == 1 for vote in zip(*votes, strict=True))] += 1
        same = _votes(ways, said, active)
        self.sums.update(majority_same=same.count(1), majority_opposite=same.count(-1))

    def _place(self, name: str, directions: Directions, at: Sequence[int]) -> None:
        for d in at:
            self.tables[name][int(directions[d] > 0), d] += 1

    def state(self) -> dict[str, Any]:
        tables = {name: table.tolist() for name, table in self.tables.items()}
        return {"sums": dict(self.sums), "by": self.by, "histograms": self.histograms, "tables": tables}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Add a state to what is here. JSON's keys are texts, so sizes are read as numbers."""
        self.sums.update(state["sums"])
        for name, counter in state["by"].items():
            self.by[name].update(counter)
        for name, histogram in state["histograms"].items():
            self.histograms[name].update({int(size): count for size, count in histogram.items()})
        for name, table in state["tables"].items():
            self.tables[name] += np.asarray(table, np.int64)

    def _with(self, *parts: str) -> int:
        return sum(count for name, count in self.by["persona"].items() if {*parts} <= {*name.split(" + ")})

    def figures(self, ids: Sequence[str]) -> ExampleFigures:
        sums, histograms = self.sums, self.histograms
        judged = histograms["consistent"].total()
        means = {f"mean_{name.removeprefix('n_')}": _mean(histograms[name]) for name in HISTOGRAMS}
        means |= {f"mean_{k}": _share(sums[k], judged, 3) for k in ("majority_same", "majority_opposite")}
        means |= {f"mean_{k}": _share(sums[k], sums["count"], 1) for k in ("chosen_chars", "rejected_chars")}
        return ExampleFigures(
            count=sums["count"],
            **{f"with_{name}": self._with(*parts) for name, parts in PARTS.items()},
            without_directions=sums["without_directions"],
            unjudged=sums["unjudged"],
            **means,
            inconsistent=histograms["agreed"][0],
            not_all_items=histograms["consistent"][0],
            chosen_longer=_share(sums["longer"], sums["count"], 4),
            same_length=_share(sums["same_length"], sums["count"], 4),
            by_source=ranked(self.by["source"]),
            by_persona=ranked(self.by["persona"]),
            by_dimension=_named(self.tables["pair"], SIDES, ids),
            consistent_by_dimension=_named(self.tables["consistent"], SIDES, ids),
            **{name: dict(sorted(histograms[name].items())) for name in HISTOGRAMS},
        )


def _votes(ways: Directions, said: Sequence[Directions], at: Sequence[int]) -> list[int]:
    """1 where the majority of the items points the pair's way, -1 where the other, per non-neutral dimension."""
    votes = majority([tuple(map(row.__getitem__, at)) for row in said]) if at else ()
    return [ways[d] * vote for d, vote in zip(at, votes, strict=True)]


def _share(count: int, total: int, digits: int) -> float | None:
    return round(count / total, digits) if total else None


def _mean(histogram: Counter[int]) -> float | None:
    return _share(sum(size * count for size, count in histogram.items()), histogram.total(), 3)


def _named(table: CountArray, names: Sequence[str], ids: Sequence[str]) -> dict[str, dict[str, int]]:
    """Counts (names, D) as dimension -> name -> count."""
    return {i: dict(zip(names, row, strict=True)) for i, row in zip(ids, table.T.tolist(), strict=True)}
