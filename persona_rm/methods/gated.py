"""A personal method that does no harm: its part is weighted by the probability that it improves on pooled.

    r(u, x, y) = w . f(x, y) + g_u added(v_u, z(x, y)),     g_u = P(theta_u > 0 | u) if that is at least p*, else 0

theta_u is the gain in log-likelihood per comparison of the inner method over the pooled reward for this user. What the
user's own n comparisons say of it is t_u, cross-validated among them: t_u ~ N(theta_u, s^2 / n). It is shrunk through
the population, theta_u ~ N(mu_n, tau_n^2), both estimated on training users as new ones who showed about n
comparisons (normal empirical Bayes, Morris 1983). p* is chosen on the same users; with p* above 1 all users get the
pooled reward, and it stays so unless another choice lowers the held-out loss by more than two standard errors.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field, field_validator

from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.methods.episodes import SHOWN, Episode, UserRows, least_loss
from persona_rm.methods.pairwise import Floats
from persona_rm.methods.personal import PersonalConfig, PersonalMethod
from persona_rm.registry import Member

NEVER = 2.0
"""A probability that is never reached: all users get the pooled reward."""
BARS = (NEVER, 0.9, 0.8, 0.7, 0.6, 0.5, 0.0)
LEAST_SPREAD = 1e-3
"""The least tau^2 (a deviation of 0.03 nats). It is at least (mu / 2)^2 too, so that no population is so sure of a
gain that a user's own comparisons could not speak against it."""
LEAST_NOISE = 0.05
"""The least s^2, in nats^2: episodes that hold out one comparison each do not show how gains scatter."""
ERRORS = 2.0
"""Standard errors by which a bar must lower the held-out loss: doing no harm comes first."""
SHARED = ("weights", "mean", "factor", "widths", "projection")
"""What the inner method and this one have in common."""


class GatedConfig(PersonalConfig):
    """`method` is the inner method, with this one's features; `parts`: into how many a user's comparisons are cut to
    cross-validate it; `bar` is p*, and None chooses it on training users."""

    method: Member = Field(default_factory=lambda: {"name": "eb_linear"})
    parts: int = Field(4, ge=2)
    bar: float | None = Field(None, ge=0)

    @field_validator("method")
    @classmethod
    def _is_personal(cls, given: Member) -> Member:
        from persona_rm.methods import METHODS

        inner, _ = METHODS.member(given, where="method")
        if not issubclass(inner, PersonalMethod) or issubclass(inner, Gated):
            raise ValueError(f"{given['name']} is no personal method on features (as centroid, map_linear, eb_linear)")
        return given


class Gated(PersonalMethod):
    """The inner method where it probably helps this user, and the pooled reward elsewhere."""

    name: ClassVar[str] = "gated"
    Config: ClassVar[type[Config]] = GatedConfig
    personal_arrays: ClassVar[tuple[str, ...]] = ("gains", "spreads", "noise", "bar")
    gains: Floats | None = None
    """mu_n for each n of `episodes.SHOWN`, in nats per comparison."""
    spreads: Floats | None = None
    """tau_n^2 for each of them."""
    noise: Floats | None = None
    """s^2, an array of one number: the variance of the gains of single comparisons of a user."""
    bar: Floats | None = None
    """p*, an array of one number."""

    @cached_property
    def inner(self) -> PersonalMethod:
        """The inner method, with this one's features."""
        from persona_rm.methods import METHODS

        own = {name: getattr(self.config, name) for name in PersonalConfig.model_fields}
        cls, config = METHODS.member({**own, **self.config.method})
        method: PersonalMethod = cls(config, self.space, self.backends)
        return method

    @property
    def both_sides(self) -> bool:
        """What the inner method reads."""
        return self.inner.both_sides

    def _share(self) -> None:
        for name in SHARED:
            setattr(self.inner, name, getattr(self, name))

    def learn(self, users: Sequence[UserRows], episodes: Sequence[Episode]) -> None:
        """Learn the inner method's population part, the spread of its gains, and p*."""
        self._share()
        self.inner.learn(users, episodes)
        self.bar = np.array([NEVER if self.config.bar is None else self.config.bar])
        vectors = [self.inner.user_vector(one.shown) for one in episodes]
        held = [self._row_gains(vector, one.held) for vector, one in zip(vectors, episodes, strict=True)]
        self._learn_spread(held, [_place(len(one.shown)) for one in episodes])
        if self.config.bar is not None or not episodes:
            return
        probabilities = np.array([self.probability(one.shown) for one in episodes])
        losses = []
        for bar in BARS:
            weights = np.where(probabilities >= bar, probabilities, 0.0)
            triples = zip(weights, vectors, episodes, strict=True)
            losses.append(np.array([self._loss(weight, vector, one.held) for weight, vector, one in triples]))
        self.bar = np.array([BARS[least_loss(losses, episodes, ERRORS)]])

    def _learn_spread(self, held: Sequence[Floats], places: Sequence[int]) -> None:
        """mu, tau^2 and s^2 from the gains of held-out comparisons of each episode."""
        rows = sum(len(gains) for gains in held)
        squares = sum(float(((gains - gains.mean()) ** 2).sum()) for gains in held)
        self.noise = np.array([max(LEAST_NOISE, squares / max(1, rows - len(held)))])
        self.gains, self.spreads = np.zeros(len(SHOWN)), np.full(len(SHOWN), LEAST_SPREAD)
        for place in range(len(SHOWN)):
            mine = [gains for gains, where in zip(held, places, strict=True) if where == place]
            if len(mine) > 1:
                means = np.array([gains.mean() for gains in mine])
                scatter = float(self.noise[0]) * float(np.mean([1 / len(gains) for gains in mine]))
                self.gains[place] = means.mean()
                # The spread of users, without what their single comparisons scatter.
                spread = float(means.var(ddof=1)) - scatter
                self.spreads[place] = max(LEAST_SPREAD, spread, (self.gains[place] / 2) ** 2)

    def _loss(self, weight: float, vector: Floats, rows: UserRows) -> float:
        margins = rows.margins + weight * (self.inner.margin(vector, rows) - rows.margins)
        return float(np.logaddexp(0, -margins).mean())

    def _row_gains(self, vector: Floats, rows: UserRows) -> Floats:
        """What the inner method gains on each comparison, in nats."""
        return np.asarray(np.logaddexp(0, -rows.margins) - np.logaddexp(0, -self.inner.margin(vector, rows)))

    def own_gains(self, rows: UserRows) -> Floats:
        """The gain on each of the user's comparisons, by vectors from the other parts; empty for one comparison."""
        n = len(rows)
        if n < 2:
            return np.zeros(0)
        part = np.arange(n) % self.config.parts
        gains = np.zeros(n)
        for number in range(int(part.max()) + 1):
            inside = np.flatnonzero(part == number).tolist()
            vector = self.inner.user_vector(rows.at(np.flatnonzero(part != number).tolist()))
            gains[inside] = self._row_gains(vector, rows.at(inside))
        return gains

    def probability(self, rows: UserRows) -> float:
        """P(theta_u > 0) after the user's own cross-validated gains."""
        if self.gains is None or self.spreads is None or self.noise is None:
            return 0.0
        place, own = _place(len(rows)), self.own_gains(rows)
        mean, spread = float(self.gains[place]), float(self.spreads[place])
        if len(own):
            error = float(self.noise[0]) / len(own)
            mean = (spread * float(own.mean()) + error * mean) / (spread + error)
            spread = spread * error / (spread + error)
        return 0.5 * (1 + math.erf(mean / math.sqrt(2 * spread)))

    def user_vector(self, rows: UserRows) -> Floats:
        """g_u, then the inner method's vector."""
        probability = self.probability(rows)
        bar = NEVER if self.bar is None else float(self.bar[0])
        weight = probability if probability >= bar else 0.0
        return np.concatenate([[weight], self.inner.user_vector(rows)])

    @property
    def vector_size(self) -> int:
        """One more than that of the inner method."""
        self._share()
        return self.inner.vector_size + 1

    def added(self, vector: Floats, features: Floats, pooled: Floats) -> Floats:
        """g_u times what the inner method adds."""
        return np.asarray(vector[0] * self.inner.added(vector[1:], features, pooled))

    def margin(self, vector: Floats, rows: UserRows) -> Floats:
        """The pooled margin, moved by g_u towards the inner method's."""
        return np.asarray(rows.margins + vector[0] * (self.inner.margin(vector[1:], rows) - rows.margins))

    def learned_arrays(self) -> dict[str, Any]:
        """Its own arrays, and those of the inner method as `inner.NAME`."""
        own = super().learned_arrays()
        return own | {f"inner.{name}": getattr(self.inner, name) for name in self.inner.personal_arrays}

    def restore(self, arrays: Mapping[str, Any], path: Path) -> None:
        """The inverse of `learned_arrays`. Raises `DataError` for a file that lacks an array."""
        super().restore(arrays, path)
        self._share()
        for name in self.inner.personal_arrays:
            if f"inner.{name}" not in arrays:
                problem = f"these are not the weights of gated {self.inner.name}: {name!r} is missing; fit it again"
                raise DataError(problem, file=path, key=f"inner.{name}")
            setattr(self.inner, name, arrays[f"inner.{name}"])


def _place(n: int) -> int:
    """The place of the largest number of `SHOWN` that is not above n; the first one for less."""
    return max((place for place, shown in enumerate(SHOWN) if shown <= n), default=0)
