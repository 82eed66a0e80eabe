"""Personal methods whose population part is learned from users' comparisons, held against users and texts unseen.

A basis, or the neighbours, that were learned with the held-out comparisons would flatter the personal part. So for
every fold of texts half of the users are left out together with these texts, the population part is learned on the
rest, and the left-out users' episodes say how strong the personal part may be:

    r(u, x, y) = w . f(x, y) + c direction(the user's comparisons) . z(x, y)

The factor c, and a second setting of the method if it has one, are chosen there; 0 is the pooled reward. Then the
population part is learned on all training users.
"""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import groupby
from typing import ClassVar

import numpy as np
from pydantic import Field

from persona_rm.config import Config
from persona_rm.methods.episodes import Episode, UserRows, least_loss
from persona_rm.methods.pairwise import Floats
from persona_rm.methods.personal import PersonalConfig, PersonalMethod

FACTORS = (0.25, 0.5, 0.75, 1.0, 1.5)
"""The factors c of the personal part among which training users choose, beside 0."""


class CrossFitConfig(PersonalConfig):
    """`scale` is c; None chooses it on training users as new ones."""

    scale: float | None = Field(None, ge=0)


class CrossFitMethod(PersonalMethod):
    """A member defines `learn_population` and `direction`; `alternatives` if a second setting is to be chosen."""

    Config: ClassVar[type[Config]] = CrossFitConfig
    strength: Floats | None = None
    """c and the chosen alternative, shape (2,)."""

    def __init_subclass__(cls, **extra: object) -> None:
        super().__init_subclass__(**extra)
        cls.learned = (*cls.learned, "strength")

    @property
    def alternatives(self) -> Sequence[float]:
        """Values of a second setting that `direction` reads; the first one is the default."""
        return (0.0,)

    @abstractmethod
    def learn_population(self, users: Sequence[UserRows]) -> None:
        """Set `personal_arrays` from the comparisons of these users; some users may have none."""

    @abstractmethod
    def direction(self, rows: UserRows, variant: float) -> Floats:
        """The user's part before the factor c, shape (p,), from one or more comparisons."""

    def learn(self, users: Sequence[UserRows], episodes: Sequence[Episode]) -> None:
        """Choose c and the alternative on left-out users and texts, then learn the population's part on all users."""
        if self.config.scale is None:
            self.strength = self._chosen(episodes)
        else:
            self.strength = np.array([self.config.scale, self.alternatives[0]])
        self.learn_population(users)

    def _chosen(self, episodes: Sequence[Episode]) -> Floats:
        settings = [(0.0, self.alternatives[0]), *((c, variant) for variant in self.alternatives for c in FACTORS)]
        judged: list[Episode] = []
        losses: list[Floats] = []
        for fold, (_, group) in enumerate(groupby(episodes, key=lambda one: id(one.population))):
            left_out = [one for one in group if one.user % 2 == fold % 2]
            if not left_out:
                continue
            rest = [rows for user, rows in enumerate(left_out[0].population) if user % 2 != fold % 2 and len(rows)]
            if not rest:
                continue
            self.learn_population(rest)
            judged += left_out
            losses += [self._losses(one) for one in left_out]
        if not judged:
            return np.array(settings[0])
        return np.array(settings[least_loss(list(np.array(losses).T), judged)])

    def _losses(self, one: Episode) -> Floats:
        """The mean log loss of an episode under each setting, in nats, shape (settings,)."""
        margins = [one.held.margins]
        for variant in self.alternatives:
            added = self.added(self.direction(one.shown, variant), one.held.differences, one.held.margins)
            margins += [one.held.margins + c * added for c in FACTORS]
        return np.asarray(np.logaddexp(0, -np.array(margins)).mean(1))

    def user_vector(self, rows: UserRows) -> Floats:
        """c times the user's direction, shape (p,)."""
        if self.strength is None:
            return np.zeros(self.vector_size)
        return np.asarray(self.strength[0] * self.direction(rows, float(self.strength[1])))
