"""Universal-value pairs as examples, so that personalisation does not unlearn what all users want (paper, Table 1).

A pair of a universal set says one thing: which response is, say, more honest. Its example has that one direction, and
its persona is a user who judged other pairs in the same way: PAIR items drawn from the pairs of the same source,
dimension, direction and side of the split (as the paper draws P_PAIR for UF-P-4, C.1), each under another prompt. The
side depends on the prompt alone, so no prompt is on both sides, even if several sources or dimensions have it.
"""

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple, Protocol

from pydantic import Field

from persona_rm.config import Config
from persona_rm.construct.pairing.rules import demo
from persona_rm.construct.split.sides import Side, key_of, side_of
from persona_rm.errors import DataError, RecipeError
from persona_rm.space import PreferenceSpace
from persona_rm.types import Directions, Drop, Example, Pair, Persona, content_id

SPARE = 4
"""The first draw has so many times `n_pairs` rows, because some may share a prompt."""
OVER_LIMIT = "over the limit of its source or dimension"
OVER_SHARE = "over the share of universal values"


class MixPair(Protocol):
    """One judgement of a universal set; `direction` is which pole of `dimension` choosing `chosen` shows."""

    @property
    def id(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def prompt(self) -> str: ...
    @property
    def chosen(self) -> str: ...
    @property
    def rejected(self) -> str: ...
    @property
    def dimension(self) -> str: ...
    @property
    def direction(self) -> int: ...


class MixConfig(Config):
    """The amount of universal values. In the paper's Table 1 they are 85,634 of 1,311,622 examples (6.5 %)."""

    n_pairs: int = Field(16, ge=1)
    min_items: int = Field(4, ge=1)
    """A pair with fewer items in its persona is dropped."""
    limit: Mapping[str, int] = Field(default_factory=dict)
    """Most examples of a source ("ultrafeedback"), a dimension ("honesty") or both ("ultrafeedback/honesty")."""
    share: float | None = Field(None, ge=0, lt=1)
    """Maximum share of universal values in all examples of a side; None: no maximum."""

    def most(self, others: int | None) -> float:
        """How many examples may be made beside `others` that are not universal. Raises RecipeError if `share`
        is set and `others` is not known."""
        if self.share is None:
            return float("inf")
        if others is None:
            raise RecipeError("mix.share needs the number of the other examples: pass `others`, or set mix.limit")
        # u of u + others is at most the share if u <= share / (1 - share) * others; the rest is against rounding down.
        return self.share / (1 - self.share) * others + 1e-9


class MixKind(NamedTuple):
    """Pairs among which items are drawn."""

    source: str
    dimension: str
    direction: int
    side: Side


@dataclass(frozen=True, slots=True)
class _Pool:
    """Pairs of one kind in the order of their ids: positions in the sequence, and keys of their prompts."""

    numbers: "array[int]"
    prompts: "array[int]"


class ValueMix:
    """The universal part of both sides. `pairs` is any sequence (a list, or rows of a memory-mapped file): it is gone
    through once, and only positions, prompt keys and, while that goes on, ids are held."""

    def __init__(
        self, pairs: Sequence[MixPair], config: MixConfig, space: PreferenceSpace, seed: int, test: float = 0.0
    ) -> None:
        """Raises DataError for a direction other than -1 and 1 or a dimension that the space lacks, `RecipeError`
        for a limit on what no pair has."""
        self.pairs, self.config, self.space, self.seed = pairs, config, space, seed
        self.pools = _pools(pairs, space, seed, test)
        _known(config.limit, self.pools)

    def rows(self, side: Side, others: int | None = None) -> Iterator[Example | Drop]:
        """An example or a reason for every pair of this side, in a seeded order, until limits and share are reached.

        `others` is the number of examples of this side from elsewhere; `share` counts against it.
        """
        most, made = self.config.most(others), Counter[str]()
        for kind, place in self._order(side):
            limits = [name for name in _names(kind) if name in self.config.limit]
            pair = self.pairs[self.pools[kind].numbers[place]]
            if any(made[name] >= self.config.limit[name] for name in limits):
                yield Drop("pair", pair.id, OVER_LIMIT)
            # "" counts all universal examples of the side, whatever their source and dimension.
            elif made[""] + 1 > most:
                yield Drop("pair", pair.id, OVER_SHARE)
            else:
                result = self._example(kind, place, pair)
                made.update(["", *limits] if isinstance(result, Example) else [])
                yield result

    def _order(self, side: Side) -> list[tuple[MixKind, int]]:
        """Every (kind, place in its pool) of a side, sorted and then shuffled by the seed, so that the order of the
        input does not matter."""
        kinds = sorted(kind for kind in self.pools if kind.side == side)
        places = [(kind, place) for kind in kinds for place in range(len(self.pools[kind].numbers))]
        Random(f"{self.seed}/mix/{side}").shuffle(places)
        return places

    def _example(self, kind: MixKind, place: int, pair: MixPair) -> Example | Drop:
        name, directions = f"{kind.source}-{kind.dimension}-{pair.id}", self._directions(kind)
        items = self._items(kind, place, name, directions)
        if len(items) < self.config.min_items:
            return Drop("pair", pair.id, f"fewer than {self.config.min_items} other pairs of its kind")
        persona = Persona(f"value-{name}", pairs=items, demo=demo(directions, self.space))
        texts = (pair.prompt, pair.chosen, pair.rejected)
        group = content_id(pair.prompt)
        return Example(content_id("value", name), *texts, directions, persona, pair.source, group)

    def _directions(self, kind: MixKind) -> Directions:
        at = self.space.index(kind.dimension)
        return tuple(kind.direction if place == at else 0 for place in range(len(self.space)))

    def _items(self, kind: MixKind, place: int, name: str, directions: Directions) -> tuple[Pair, ...]:
        """Up to `n_pairs` drawn per (seed, pair), each under a prompt of its own, none under the pair's."""
        pool, random = self.pools[kind], Random(f"{self.seed}/mix/{name}")
        total, numbers = len(pool.numbers), list[int]()
        # If too many rows of the first draw share a prompt, all rows are drawn.
        for size in (min(total, SPARE * self.config.n_pairs), total):
            # Filled from the back, so that of rows with one prompt the first that was drawn stays; turned again below,
            # so that the items are in the order of the draw.
            first = {pool.prompts[drawn]: pool.numbers[drawn] for drawn in random.sample(range(total), size)[::-1]}
            first.pop(pool.prompts[place], None)
            numbers = list(first.values())[::-1][: self.config.n_pairs]
            if len(numbers) == self.config.n_pairs:
                break
        drawn = (self.pairs[number] for number in numbers)
        return tuple(Pair(pair.prompt, pair.chosen, pair.rejected, directions) for pair in drawn)


def _pools(pairs: Sequence[MixPair], space: PreferenceSpace, seed: int, test: float) -> dict[MixKind, _Pool]:
    rows: dict[MixKind, list[tuple[str, int, int]]] = defaultdict(list)
    for number, pair in enumerate(pairs):
        if pair.direction not in (-1, 1):
            raise DataError(f"pair {pair.id!r} of {pair.source}: direction is {pair.direction!r}; it must be -1 or 1")
        space.index(pair.dimension)
        prompt = content_id(pair.prompt)
        kind = MixKind(pair.source, pair.dimension, pair.direction, side_of(seed, "prompt", prompt, test))
        rows[kind].append((pair.id, number, key_of("prompt", prompt)))
    pools = {}
    for kind in list(rows):
        # Popped, so that the ids of one kind are freed while the pools of the others are made.
        ordered = sorted(rows.pop(kind))
        pools[kind] = _Pool(array("L", (row[1] for row in ordered)), array("Q", (row[2] for row in ordered)))
    return pools


def _names(kind: MixKind) -> tuple[str, str, str]:
    """What a limit may name."""
    return kind.source, kind.dimension, f"{kind.source}/{kind.dimension}"


def _known(limit: Mapping[str, int], pools: Mapping[MixKind, _Pool]) -> None:
    names = {name for kind in pools for name in _names(kind)}
    for name, most in limit.items():
        if name not in names:
            raise RecipeError(f"mix.limit names {name!r}, which no pair has; there is: {', '.join(sorted(names))}")
        if most < 0:
            raise RecipeError(f"mix.limit of {name!r} is {most}; it must be 0 or more")
