"""What `posterior` keeps of one user: weighted counts of votes, and which item gave which.

The counts are all that the model needs, so a new item costs the same whatever the history; the list of items is what
an item is forgotten by, and what a direction is explained by. Neither holds text.

An item that is `age` days older than the newest one counts 0.5 ** (age / half_life); one without a date counts in
full. Counts are kept as of the newest date: a newer item lets all of them fade by one factor, an older one arrives
faded, so the order of arrival does not matter.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np

from persona_rm.errors import DataError
from persona_rm.inferrers.evidence import Item
from persona_rm.inferrers.model import EvidenceCounts
from persona_rm.inferrers.stored_answers import GRADES, is_grade
from persona_rm.types import UserState

OTHER = "other"
"""Every source that is not among the named ones."""
LAYOUT = 1
"""Of the payload of a state."""
DAY = 86_400.0
STEPS = (-2, -1, 1, 2)
"""By how many levels, 1 to 3, two texts can differ."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An item as it is kept: which of the sources, when (seconds since 1970), and the dimensions that it votes on."""

    source: int
    when: float | None
    negative: tuple[int, ...]
    positive: tuple[int, ...]

    def vote(self, dim: int) -> int:
        """On this dimension: -1, 0 or 1."""
        return (dim in self.positive) - (dim in self.negative)


@dataclass(frozen=True, slots=True)
class Answered:
    """An answer as it is kept: the grade (-2 .. 2), the dimensions that the two texts differ in, and by how much."""

    grade: int
    dims: tuple[int, ...]
    by: tuple[int, ...]

    def vote(self, dim: int) -> int:
        """On this dimension: the pole of the text that was preferred; 0 for about the same, or no difference in it."""
        signed = self.grade * self.by[self.dims.index(dim)] if dim in self.dims else 0
        return (signed > 0) - (signed < 0)


@dataclass
class Tally:
    """Counts as of the newest date: (S, D, 2) and (S,) for dated items, and the same for those without a date."""

    size: int
    sources: tuple[str, ...]
    half_life: float | None = None
    """Days; None: age does not matter."""
    entries: dict[str, Entry] = field(default_factory=dict)
    answers: dict[str, Answered] = field(default_factory=dict)
    """By question."""

    def __post_init__(self) -> None:
        self.newest: float | None = None
        self.dated = np.zeros((len(self.sources), self.size, 2))
        self.undated = np.zeros_like(self.dated)
        self.dated_totals = np.zeros(len(self.sources))
        self.undated_totals = np.zeros(len(self.sources))
        for entry in self.entries.values():
            self._count(entry)

    def add(self, items: Iterable[Item]) -> int:
        """Count these items; one that is known already counts no second time, and has its latest date. Returns how
        many were new."""
        before = len(self.entries)
        for item in items:
            entry, known = self._entry(item), self.entries.get(item.id)
            if known is None:
                self.entries[item.id] = entry
                self._count(entry)
            elif entry.when is not None and (known.when is None or entry.when > known.when):
                self.entries[item.id] = entry
                # The weight at the old date is part of the sums, so everything is counted anew.
                self.__post_init__()
        return len(self.entries) - before

    def hear(self, question_id: str, difference: Sequence[int], grade: int) -> None:
        """Keep the answer to a question; the last one counts. `difference` (D,): see `ask.Question`. Raises
        `DataError` for a difference or a grade that is none, and keeps nothing then."""
        if len(difference) != self.size:
            raise DataError(f"question {question_id} has {len(difference)} dimensions, this tally {self.size}")
        said = {d: x for d, x in enumerate(np.asarray(difference).tolist()) if x}
        self.answers[question_id] = _answered([grade, [*said], [*said.values()]], self.size, f"question {question_id}")

    def forget(self, ids: Sequence[str]) -> None:
        """As if these items and answers had never been: counted anew from the others. Raises `DataError` for an
        unknown id."""
        if unknown := [one for one in ids if one not in self.entries and one not in self.answers]:
            raise DataError(f"no item {unknown[0]!r} here ({len(self)} items): it cannot be forgotten")
        gone = set(ids)
        self.entries = {id_: entry for id_, entry in self.entries.items() if id_ not in gone}
        self.answers = {id_: answer for id_, answer in self.answers.items() if id_ not in gone}
        # Subtracting would leave rounding errors of weights that faded in steps.
        self.__post_init__()

    def joined(self, before: Self) -> Self:
        """This tally with what an earlier one knew beside it: its other items, and its answers in place of these.

        An item that both have is as it is in this one.
        """
        return replace(self, entries={**before.entries, **self.entries}, answers=before.answers)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the items, those without a date first and the newest last, then of the answered questions."""
        # The sort is stable, so items of the same date stay in the order in which they were added.
        items = sorted(self.entries.items(), key=lambda item: item[1].when or 0.0)
        return (*(id_ for id_, _ in items), *self.answers)

    def __len__(self) -> int:
        return len(self.entries) + len(self.answers)

    @property
    def counts(self) -> EvidenceCounts:
        """Of this one user: votes (1, S, D, 2), totals (1, S)."""
        return EvidenceCounts((self.dated + self.undated)[None], (self.dated_totals + self.undated_totals)[None])

    def weight(self, entry: Entry) -> float:
        """What this item counts as of the newest date."""
        if entry.when is None or self.half_life is None or self.newest is None:
            return 1.0
        return float(0.5 ** ((self.newest - entry.when) / DAY / self.half_life))

    def _entry(self, item: Item) -> Entry:
        if len(item.votes) != self.size:
            raise DataError(f"item {item.id} has {len(item.votes)} votes, this user's tally has {self.size}")
        source = self.sources.index(item.source if item.source in self.sources else OTHER)
        negative, positive = (tuple(d for d, v in enumerate(item.votes) if v == way) for way in (-1, 1))
        return Entry(source, item.when, negative, positive)

    def _count(self, entry: Entry) -> None:
        # `_aged` comes before `weight`: it may set `newest`, which the weight refers to.
        votes, totals = (self.undated, self.undated_totals) if entry.when is None else self._aged(entry.when)
        weight = self.weight(entry)
        votes[entry.source, entry.negative, 0] += weight
        votes[entry.source, entry.positive, 1] += weight
        totals[entry.source] += weight

    def _aged(self, when: float) -> tuple[np.ndarray, np.ndarray]:
        """The dated counts, as of `when` where that is the newest."""
        if self.newest is None or when > self.newest:
            if self.newest is not None and self.half_life is not None:
                # All dated items lose the same factor when a newer one arrives, so the sums are scaled and no item is
                # visited.
                faded = 0.5 ** ((when - self.newest) / DAY / self.half_life)
                self.dated *= faded
                self.dated_totals *= faded
            self.newest = when
        return self.dated, self.dated_totals

    def to_payload(self) -> dict[str, Any]:
        """Plain JSON: the items (counts follow from them)."""
        kept = {id_: [e.source, e.when, list(e.negative), list(e.positive)] for id_, e in self.entries.items()}
        heard = {id_: [a.grade, list(a.dims), list(a.by)] for id_, a in self.answers.items()}
        about = {"layout": LAYOUT, "size": self.size, "sources": list(self.sources)}
        return {**about, "items": kept, "answers": heard}


def read_tally(state: UserState, size: int, sources: tuple[str, ...], half_life: float | None) -> Tally:
    """The tally in a state. Raises `DataError` for a state of another layout, space or list of sources, and for
    items or answers that are none."""
    payload, who = state.payload, f"the state of user {state.user_id!r}"
    # A prior has an empty payload: nothing is stored about an unknown user.
    if not payload:
        return Tally(size, sources, half_life)
    if payload.get("layout") != LAYOUT:
        problem = f"has layout {payload.get('layout')!r}; this version reads layout {LAYOUT}"
        raise DataError(f"{who} {problem}: infer it again from the user's items")
    if payload.get("size") != size or tuple(payload.get("sources", ())) != sources:
        problem = f"is of {payload.get('size')} dimensions and sources {payload.get('sources')}"
        raise DataError(f"{who} {problem}; the inferrer has {size} and {list(sources)}: infer it again")
    try:
        items = payload["items"].items()
        entries = {id_: _read_entry(one, size, len(sources)) for id_, one in items}
        heard = payload["answers"].items()
        answers = {id_: _answered(one, size, f"{who}, answers[{id_!r}]") for id_, one in heard}
        return Tally(size, sources, half_life, entries, answers)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise DataError(f"{who} does not hold a tally's items: {type(error).__name__}") from error


def _answered(kept: Any, size: int, where: str) -> Answered:
    """Raises `DataError` naming `where` for what is no answer about `size` dimensions."""
    match kept:
        # The type itself is compared, because True passes `isinstance(..., int)`.
        case [grade, [*dims], [*by]] if is_grade(grade) and all(type(x) is int for x in (*dims, *by)):
            if {*dims} <= {*range(size)} and {*by} <= {*STEPS} and len({*dims}) == len(dims) == len(by):
                return Answered(grade, tuple(dims), tuple(by))
    parts = f"a grade of {sorted(GRADES)}, distinct dimensions of 0 .. {size - 1}, and for each one of {list(STEPS)}"
    raise DataError(f"{where} needs integers, [grade, dimensions, levels]: {parts}; found {kept!r:.80}")


def _read_entry(kept: Sequence[Any], size: int, n_sources: int) -> Entry:
    """Raises `ValueError` for what is no entry."""
    # A list of another length fails here with ValueError, like the check below.
    source, when, negative, positive = kept
    if not 0 <= source < n_sources or not all(0 <= dim < size for dim in (*negative, *positive)):
        raise ValueError("an index is out of range")
    return Entry(int(source), None if when is None else float(when), tuple(negative), tuple(positive))
