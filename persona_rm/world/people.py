"""The people of the embedded world: hidden preference directions, drawn by kind."""

from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Literal

from persona_rm.types import Directions
from persona_rm.world.language import Language

Kind = Literal["independent", "clusters", "conflict"]
N_CLUSTERS = 4
CAMP_SIZE = 8
MAJORITY = 0.51
FOLLOWS = 0.8
"""How likely a person of a cluster holds each view of it, and how likely one view brings a correlated one along."""


@dataclass(frozen=True, slots=True)
class Person:
    """Someone with hidden directions; `group` (cluster, camp, or where most views lie) is for curves and reports."""

    id: str
    directions: Directions
    group: str

    @property
    def held(self) -> tuple[int, ...]:
        """The dimensions that this person has a view on."""
        return tuple(dim for dim, direction in enumerate(self.directions) if direction)


def draw_people(language: Language, kind: Kind, n: int, seed: int, split: str) -> list[Person]:
    """`n` people with 6 to 12 directions each that are not neutral; the same seed gives the same people."""
    shared = _shared_views(language, kind, seed)
    return [
        _person(language, kind, shared, f"{split}-{i:04d}", Random(f"{seed}/person/{split}/{i}")) for i in range(n)
    ]


def _shared_views(language: Language, kind: Kind, seed: int) -> list[dict[int, int]]:
    rng = Random(f"{seed}/shared/{kind}")
    if kind == "clusters":
        return [{dim: rng.choice((-1, 1)) for dim in rng.sample(language.active, 10)} for _ in range(N_CLUSTERS)]
    if kind == "conflict":
        camp = {dim: rng.choice((-1, 1)) for dim in rng.sample(language.active, CAMP_SIZE)}
        return [camp, {dim: -sign for dim, sign in camp.items()}]
    return []


def _person(language: Language, kind: Kind, shared: list[dict[int, int]], name: str, rng: Random) -> Person:
    views: dict[int, int] = {}
    group = ""
    if kind == "clusters":
        which = rng.randrange(len(shared))
        views = {dim: sign for dim, sign in shared[which].items() if rng.random() < FOLLOWS}
        group = f"cluster {which}"
    elif kind == "conflict":
        which = int(rng.random() >= MAJORITY)
        views, group = dict(shared[which]), f"camp {'AB'[which]}"
    _fill(language, views, rng.randint(max(6, len(views)), 12), rng)
    directions = [0] * len(language.space)
    for dim, sign in views.items():
        directions[dim] = sign
    return Person(name, tuple(directions), group or _bent(language, views))


def _bent(language: Language, views: dict[int, int]) -> str:
    """Where most views lie: a group for people who belong to none."""
    sources = Counter(language.space.dimensions[dim].source for dim in views)
    return f"mostly {min(sources, key=lambda source: (-sources[source], source))}"


def _fill(language: Language, views: dict[int, int], size: int, rng: Random) -> None:
    """Add views until there are `size`; a view may bring a correlated one along."""
    for dim in rng.sample(language.active, len(language.active)):
        if len(views) >= size:
            return
        if dim not in views:
            views[dim] = rng.choice((-1, 1))
            for a, b, turn in language.correlated:
                other = {a: b, b: a}.get(dim)
                if other is not None and other not in views and len(views) < size and rng.random() < FOLLOWS:
                    views[other] = turn * views[dim]
