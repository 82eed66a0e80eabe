"""The penalty of each block of features, chosen by cross-validation over texts; a block may be left out.

A block that says nothing costs accuracy if it is penalised like one that does, and surface features need another
penalty than an encoding. Coordinate descent on a grid: every block is moved while the held-out loss falls.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from persona_rm.methods.block_directions import block_directions
from persona_rm.methods.pairwise import Floats, TextPairs, fit_weights
from persona_rm.methods.text_folds import TextFolds

GRID = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, np.inf)
"""Penalties of a block whose rows have a mean squared length of 1; inf leaves the block out."""
START = 3
PASSES = 2
SEARCH_RANK = 96
TOLERANCE = 1e-5
"""Gradient at which a fit of cross-validation ends: its loss is right to six digits."""
GAIN = 1e-4
"""A weaker penalty must lower the held-out loss by so much (nats): a smaller gain is noise of the folds."""


class PenaltySearch:
    """Held-out loss by penalties, each computed once; fits start from the last one of their fold."""

    def __init__(
        self, vectors: npt.NDArray[np.floating], pairs: TextPairs, widths: Sequence[int], folds: TextFolds, steps: int
    ) -> None:
        self.vectors, self.widths, self.folds, self.steps = np.asarray(vectors, np.float64), widths, folds, steps
        self.seen = [pairs.rows(rows) for rows in folds.seen]
        self.held = [pairs.rows(rows) for rows in folds.held]
        self.weights: list[Floats | None] = [None] * len(folds)
        self.losses: dict[tuple[int, ...], float] = {}

    def loss(self, places: tuple[int, ...]) -> float:
        """Mean log loss of held-out comparisons under `GRID[places[b]]` for each block b, in nats."""
        if places not in self.losses:
            penalties = np.repeat([GRID[place] for place in places], self.widths)
            total, n = 0.0, 0
            for fold, (seen, held) in enumerate(zip(self.seen, self.held, strict=True)):
                weights = fit_weights(self.vectors, seen, penalties, self.steps, self.weights[fold], TOLERANCE)
                self.weights[fold] = weights
                rewards = self.vectors @ weights
                total += float(np.logaddexp(0, rewards[held.rejected] - rewards[held.chosen]).sum())
                n += len(held)
            self.losses[places] = total / n
        return self.losses[places]

    def choose(self) -> Floats:
        """One penalty per block. Without folds all blocks get that of the start."""
        places = (START,) * len(self.widths)
        if len(self.folds):
            together = [(place,) * len(self.widths) for place in range(1, len(GRID) - 1)]
            places = min(together, key=self.loss)
            for _ in range(PASSES if len(self.widths) > 1 else 0):
                for block in range(len(self.widths)):
                    places = self._moved(places, block)
        return np.array([GRID[place] for place in places])

    def _moved(self, places: tuple[int, ...], block: int) -> tuple[int, ...]:
        """The penalty of one block moved downhill: to a neighbour, again and again, or out."""

        def at(place: int) -> tuple[int, ...]:
            return (*places[:block], place, *places[block + 1 :])

        here, last = places[block], len(GRID) - 1
        for step in (1, -1):
            while 0 <= here + step < last and self.loss(at(here + step)) < self.loss(at(here)) - GAIN * (step < 0):
                here += step
        # Leaving a block out is as simple as can be, so it needs no gain.
        others = any(place != last for other, place in enumerate(places) if other != block)
        if others and here != last and self.loss(at(last)) <= self.loss(at(here)) + GAIN:
            here = last
        return at(here)


def choose_penalties(
    vectors: npt.NDArray[np.floating], pairs: TextPairs, widths: Sequence[int], folds: TextFolds, steps: int
) -> Floats:
    """The penalty of each block, shape (blocks,); inf for a block that is left out.

    The search reads the leading `SEARCH_RANK` principal directions of each block. A rotation inside a block changes
    nothing, and directions beyond them hardly anything, at a fraction of the time.
    """
    reduced = np.asarray(vectors, np.float64) @ block_directions(vectors, widths, SEARCH_RANK)
    sizes = [min(width, SEARCH_RANK) for width in widths]
    return PenaltySearch(reduced, pairs, sizes, folds, steps).choose()
