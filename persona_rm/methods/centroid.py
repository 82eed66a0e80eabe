"""The pooled reward, moved along the mean difference between what a user chose and rejected.

Rocchio's relevance feedback (1971) on frozen features, with the pooled Bradley-Terry reward as its origin:

    v_u = c sqrt(n) (mean over the user's n comparisons of d_i / |d_i|  -  the same mean over all users)

d_i is the difference of the features z of both responses. The noise of a mean falls with sqrt(n), so the weight grows
with it. It needs no training per user. What all users share is in the pooled reward already, so it is taken off.
"""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from persona_rm.config import Config
from persona_rm.methods.episodes import Episode, UserRows
from persona_rm.methods.pairwise import Floats
from persona_rm.methods.personal import PersonalConfig, PersonalMethod

SCALES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""The weights c among which training users choose; 0 is the pooled reward."""


class CentroidConfig(PersonalConfig):
    """`scale` is c; None chooses it on training users as new ones."""

    scale: float | None = Field(None, ge=0)


class Centroid(PersonalMethod):
    """The mean direction of a user's choices, relative to that of all users."""

    name: ClassVar[str] = "centroid"
    Config: ClassVar[type[Config]] = CentroidConfig
    personal_arrays: ClassVar[tuple[str, ...]] = ("centre", "scale")
    centre: Floats | None = None
    """The mean unit difference over all comparisons of the fit, shape (q,)."""
    scale: Floats | None = None
    """c, an array of one number."""

    def learn(self, users: Sequence[UserRows], episodes: Sequence[Episode]) -> None:
        """Learn the mean of all users, and c."""
        self.centre = np.mean(np.concatenate([units(one.differences) for one in users]), axis=0)
        scales = SCALES if self.config.scale is None else (self.config.scale,)

        def scaled(scale: float) -> None:
            self.scale = np.array([scale])

        self.choose(scales, episodes, scaled)

    def user_vector(self, rows: UserRows) -> Floats:
        """v_u, shape (q,)."""
        if self.centre is None or self.scale is None:
            return np.zeros(rows.differences.shape[1])
        own = units(rows.differences).mean(0) - self.centre
        return np.asarray(self.scale[0] * len(rows) ** 0.5 * own)


def units(differences: Floats) -> Floats:
    """The rows, each of length one; a row of zeros stays as it is."""
    lengths = np.linalg.norm(differences, axis=1, keepdims=True)
    return np.asarray(differences / np.where(lengths > 0, lengths, 1.0))
