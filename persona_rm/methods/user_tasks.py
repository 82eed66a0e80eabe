"""Training users as tasks of a network: from some of a user's comparisons, predict others under unseen texts.

A task shows comparisons of a user from some folds of texts and asks for those of another fold, so that a network
cannot remember texts. The pooled margins are those of a reward that was fitted without the fold of the comparison.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from persona_rm.methods.episodes import SHOWN, Episode
from persona_rm.methods.pairwise import Floats, Places

Tensor = Any
"""A tensor of torch, which is imported inside functions only."""
ASKED = 8
"""Most comparisons that a task asks for."""


@dataclass(frozen=True, slots=True)
class Shaped:
    """Comparisons of B users, padded to the same number K, as float64 tensors; `mask` is 1 where there is one."""

    chosen: Tensor
    rejected: Tensor
    """z of the two responses, shape (B, K, q)."""
    margins: Tensor
    mask: Tensor
    """Shape (B, K)."""


@dataclass(frozen=True, slots=True)
class TaskBatch:
    """Tasks of B users: what is shown, what is asked, and the places of the users in the training set, shape (B,)."""

    shown: Shaped
    asked: Shaped
    users: Places


class UserTasks:
    """The comparisons that episodes hold out, by user and fold."""

    def __init__(self, episodes: Sequence[Episode]) -> None:
        by_user: dict[int, list[Episode]] = {}
        for one in episodes:
            by_user.setdefault(one.user, []).append(one)
        sides = [one.held.sides for one in episodes]
        self.chosen = np.concatenate([chosen for chosen, _ in sides])
        self.rejected = np.concatenate([rejected for _, rejected in sides])
        self.margins = np.concatenate([one.held.margins for one in episodes])
        ends = np.cumsum([len(one.held) for one in episodes])
        place = {id(one): np.arange(end - len(one.held), end) for one, end in zip(episodes, ends, strict=True)}
        # The held-out rows of a user, fold by fold. A user of one fold alone shows and is asked for the same rows.
        self.folds = [[place[id(one)] for one in by_user[user]] for user in sorted(by_user)]

    def __len__(self) -> int:
        return len(self.folds)

    def batch(self, rng: np.random.Generator, size: int) -> TaskBatch:
        """`size` tasks, users drawn with replacement."""
        users = rng.integers(len(self), size=size)
        shown, asked = [], []
        for user in users.tolist():
            folds = self.folds[user]
            held = int(rng.integers(len(folds)))
            others = [rows for fold, rows in enumerate(folds) if fold != held] or [folds[held]]
            shown.append(rng.permutation(np.concatenate(others))[: int(rng.choice(SHOWN))])
            asked.append(rng.permutation(folds[held])[:ASKED])
        return TaskBatch(self._shaped(shown), self._shaped(asked), users)

    def _shaped(self, rows: Sequence[Places]) -> Shaped:
        import torch

        width = max(len(one) for one in rows)
        index, mask = np.zeros((len(rows), width), np.int64), np.zeros((len(rows), width))
        for place, one in enumerate(rows):
            index[place, : len(one)], mask[place, : len(one)] = one, 1
        arrays = (self.chosen[index], self.rejected[index], self.margins[index], mask)
        return Shaped(*(torch.from_numpy(array) for array in arrays))


def shaped(chosen: Floats, rejected: Floats, margins: Floats) -> Shaped:
    """One user's comparisons as a batch of one."""
    import torch

    arrays: list[npt.NDArray[np.float64]] = [chosen[None], rejected[None], margins[None], np.ones((1, len(margins)))]
    return Shaped(*(torch.from_numpy(np.ascontiguousarray(array, np.float64)) for array in arrays))
