"""Simulated users: hidden preference directions, drawn by the kind of population."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date, timedelta
from functools import lru_cache, partial
from random import Random
from typing import Literal

from persona_rm.simulator.simulated_language import Language
from persona_rm.types import Directions

PopulationKind = Literal["independent", "clusters", "conflict", "low_rank", "plural", "drift"]
N_CLUSTERS = 4
CAMP_SIZE = 8
MAJORITY = 0.51
FOLLOWS = 0.8
"""Probability that a user of a cluster holds each of its views, and that a view implies a correlated one."""

RANK = 2
"""Number of latent factors behind a user of a `low_rank` population."""

N_SECTORS = 4
TURNS = (date(2024, 4, 1), date(2024, 9, 30))
"""The first and the last day on which a user of a `drift` population changes views."""

Loadings = dict[int, tuple[float, ...]]
"""dimension -> what each of the `RANK` latent factors of a user adds to the score there."""


@dataclass(frozen=True, slots=True)
class SimulatedUser:
    """A user with hidden directions. `group` (cluster, camp, sector, or where most views lie) is used by curves and
    reports."""

    id: str
    directions: Directions
    group: str
    other: Directions | None = None
    """A second set of directions, for the populations that have one (`plural`, `drift`)."""
    topics: frozenset[str] = frozenset()
    """Under posts of these topics `other` holds instead of `directions`."""
    until: str = ""
    """Before this date (ISO) `other` holds instead of `directions`."""

    @property
    def held(self) -> tuple[int, ...]:
        """The dimensions on which this user has a view."""
        return _held(self.directions)

    def at(self, topic: str, created: str = "") -> "SimulatedUser":
        """This user with the one set of directions that holds under a post of that topic at that time (ISO; empty:
        now)."""
        if self.other is None:
            return self
        # Dates are ISO texts, whose order is that of time.
        earlier = bool(created) and created < self.until
        directions = self.other if earlier or topic in self.topics else self.directions
        return SimulatedUser(self.id, directions, self.group)


def draw_users(language: Language, kind: PopulationKind, n: int, seed: int, split: str) -> list[SimulatedUser]:
    """`n` users with 6 to 12 non-neutral directions each; the same seed gives the same users.

    User ids are "<split>-0000", "<split>-0001", ...; each user is drawn from a generator of its own, so that a larger
    population contains a smaller one.
    """
    # What all users of a population share is drawn from the seed alone, so that both sides of the split share it.
    draw = _drawing(language, kind, seed)
    return [draw(f"{split}-{i:04d}", Random(f"{seed}/person/{split}/{i}")) for i in range(n)]


def _drawing(language: Language, kind: PopulationKind, seed: int) -> Callable[[str, Random], SimulatedUser]:
    if kind == "low_rank":
        return partial(_of_low_rank, language, _loadings(language, seed))
    if kind == "plural":
        return partial(_plural, language)
    if kind == "drift":
        return partial(_drifting, language)
    return partial(_draw_user, language, kind, _shared_views(language, kind, seed))


def _shared_views(language: Language, kind: PopulationKind, seed: int) -> list[dict[int, int]]:
    rng = Random(f"{seed}/shared/{kind}")
    if kind == "clusters":
        return [{dim: rng.choice((-1, 1)) for dim in rng.sample(language.active, 10)} for _ in range(N_CLUSTERS)]
    if kind == "conflict":
        camp = {dim: rng.choice((-1, 1)) for dim in rng.sample(language.active, CAMP_SIZE)}
        return [camp, {dim: -sign for dim, sign in camp.items()}]
    return []


def _draw_user(
    language: Language, kind: PopulationKind, shared: list[dict[int, int]], name: str, rng: Random
) -> SimulatedUser:
    views: dict[int, int] = {}
    group = ""
    if kind == "clusters":
        which = rng.randrange(len(shared))
        views = {dim: sign for dim, sign in shared[which].items() if rng.random() < FOLLOWS}
        group = f"cluster {which}"
    elif kind == "conflict":
        # Camp A is the majority; the views of camp B are the opposite on every dimension of the conflict.
        which = int(rng.random() >= MAJORITY)
        views, group = dict(shared[which]), f"camp {'AB'[which]}"
    _fill(language, views, rng.randint(max(6, len(views)), 12), rng)
    return SimulatedUser(name, _directions(language, views), group or _bent(language, views))


def _loadings(language: Language, seed: int) -> Loadings:
    rng = Random(f"{seed}/shared/low_rank")
    return {dim: tuple(rng.gauss(0, 1) for _ in range(RANK)) for dim in language.active}


def _of_low_rank(language: Language, loadings: Loadings, name: str, rng: Random) -> SimulatedUser:
    """Views where |loading . z| is largest, with its sign: all views follow from the `RANK` latent factors z."""
    z = [rng.gauss(0, 1) for _ in range(RANK)]
    scores = {dim: sum(a * b for a, b in zip(loading, z, strict=True)) for dim, loading in loadings.items()}
    held = sorted(scores, key=lambda dim: -abs(scores[dim]))[: rng.randint(6, 12)]
    views = {dim: 1 if scores[dim] > 0 else -1 for dim in held}
    # The group is the direction of z in the plane of the two factors. Rounding may give a full turn, hence the last
    # modulo.
    sector = int(math.atan2(z[1], z[0]) % math.tau / math.tau * N_SECTORS) % N_SECTORS
    return SimulatedUser(name, _directions(language, views), f"sector {sector}")


def _plural(language: Language, name: str, rng: Random) -> SimulatedUser:
    """Two independent sets of directions; the second one holds under half of the topics."""
    # The first draw is that of the independent user of this number, so the two populations have the same main views.
    first, second = (_draw_user(language, "independent", [], name, rng) for _ in range(2))
    names = [topic.name for topic in language.topics]
    topics = frozenset(rng.sample(names, len(names) // 2))
    return replace(first, other=second.directions, topics=topics)


def _drifting(language: Language, name: str, rng: Random) -> SimulatedUser:
    """A user who changes half of the views held, on one day."""
    old = _draw_user(language, "independent", [], name, rng)
    views = _turned(language, old, rng)
    first, last = TURNS
    day = first + timedelta(rng.randint(0, (last - first).days))
    directions = _directions(language, views)
    return SimulatedUser(name, directions, _bent(language, views), other=old.directions, until=day.isoformat())


def _turned(language: Language, old: SimulatedUser, rng: Random) -> dict[int, int]:
    """The old views, about half of them replaced: turned round, or given up for a view on something else."""
    views = {dim: old.directions[dim] for dim in old.held}
    # Dimensions without an old view, so that a view given up never comes back as a new one.
    fresh = rng.sample([dim for dim in language.active if dim not in views], len(views))
    for dim in rng.sample(old.held, round(len(old.held) / 2)):
        sign = views.pop(dim)
        if rng.random() < 0.5:
            views[dim] = -sign
        else:
            views[fresh.pop()] = rng.choice((-1, 1))
    return views


@lru_cache(maxsize=4096)
def _held(directions: Directions) -> tuple[int, ...]:
    return tuple(dim for dim, direction in enumerate(directions) if direction)


def _directions(language: Language, views: dict[int, int]) -> Directions:
    return tuple(views.get(dim, 0) for dim in range(len(language.space)))


def _bent(language: Language, views: dict[int, int]) -> str:
    """The part of the space in which most views lie: a group for users of populations without groups."""
    sources = Counter(language.space.dimensions[dim].source for dim in views)
    return f"mostly {min(sources, key=lambda source: (-sources[source], source))}"


def _fill(language: Language, views: dict[int, int], size: int, rng: Random) -> None:
    """Add views until there are `size`; a view may bring a correlated one along."""
    for dim in rng.sample(language.active, len(language.active)):
        if len(views) >= size:
            return
        if dim not in views:
            views[dim] = rng.choice((-1, 1))
            # A correlation works in both directions, whichever of the two views was drawn first.
            for a, b, turn in language.correlated:
                other = {a: b, b: a}.get(dim)
                if other is not None and other not in views and len(views) < size and rng.random() < FOLLOWS:
                    views[other] = turn * views[dim]
