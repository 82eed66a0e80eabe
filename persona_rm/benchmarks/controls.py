"""Controls: the same pairs with the personal part removed, exchanged or reversed; scorers that read no persona."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from persona_rm.benchmarks.base import Case, PriorScorer
from persona_rm.errors import DataError
from persona_rm.types import Directions, Pair, Persona, RewardRequest, RewardResult, UserState


def derangement(n: int, rng: np.random.Generator) -> list[int]:
    """A random cyclic permutation of 0..n-1 (Sattolo): no element stays in place. Raises `DataError` below two."""
    if n < 2:
        raise DataError(f"shuffling personas needs two users or more; found {n}")
    order = list(range(n))
    # Sattolo's algorithm: the partner j is below i, never i itself, so the permutation is one cycle.
    for i in range(n - 1, 0, -1):
        j = int(rng.integers(i))
        order[i], order[j] = order[j], order[i]
    return order


def shuffled_personas(cases: Sequence[Case], seed: int = 0) -> list[Case]:
    """Each case with another user's persona (evidence and directions), by a derangement over users.

    All cases of one user get the same donor. If the donor's evidence differs by case, it is taken in turn. The case
    stays in its own bootstrap unit.
    """
    by_user: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        by_user[case.example.persona.user_id].append(case)
    # Sorted, so that the derangement does not depend on the order of the cases.
    users = sorted(by_user)
    donor = dict(zip(users, (users[i] for i in derangement(len(users), np.random.default_rng(seed))), strict=True))
    seen: dict[str, int] = defaultdict(int)
    out = []
    for case in cases:
        user = case.example.persona.user_id
        # The donor may have fewer cases, so they are used in a cycle.
        donors = by_user[donor[user]]
        out.append(case.with_persona(donors[seen[user] % len(donors)].example.persona))
        seen[user] += 1
    return out


def no_persona(case: Case) -> Case:
    """The case without any evidence; golden directions become neutral, unknown ones stay unknown."""
    persona = case.example.persona
    neutral = None if persona.directions is None else (0,) * len(persona.directions)
    return case.with_persona(Persona(persona.user_id, directions=neutral))


def without_golden(case: Case) -> Case:
    """The case with its evidence but without golden directions: what an inferrer may see."""
    return case.with_persona(case.example.persona.with_directions(None))


def reversed_directions(case: Case) -> Case:
    """The reversed persona of the flip test: directions negated, PAIR items with sides exchanged.

    The pair of the case itself keeps its sides, because `metrics.flips` compares margins of the original order. A
    comment cannot be reversed, so UGC keeps its text and has its directions negated, and a DEMO text is left out. The
    flip of a method that reads the text of UGC is therefore a lower bound.
    """
    persona = case.example.persona
    ugc = tuple(replace(item, directions=_negated(item.directions)) for item in persona.ugc)
    pairs = tuple(_turned(pair) for pair in persona.pairs)
    reverse = replace(persona, ugc=ugc, pairs=pairs, demo="", directions=_negated(persona.directions))
    return case.with_persona(reverse)


def truncate_history(case: Case, n: int) -> Case:
    """The case with `n` behavioural items, half UGC and half PAIR (paper, Figure 3: 2 to 16).

    Raises `DataError` if the user has fewer items: results by history size must not mix sizes.
    """
    persona, n_ugc = case.example.persona, n // 2
    if len(persona.ugc) < n_ugc or len(persona.pairs) < n - n_ugc:
        raise DataError(
            f"history size {n} needs {n_ugc} UGC and {n - n_ugc} PAIR items; user {persona.user_id!r} has "
            f"{len(persona.ugc)} and {len(persona.pairs)}: build longer histories or ask for smaller sizes"
        )
    return case.with_persona(persona.first(n_ugc, n - n_ugc))


class PriorOnly:
    """A method that is told nothing about any user: it scores with its population prior."""

    def __init__(self, method: PriorScorer) -> None:
        self.method = method

    def adapt(self, evidence: Persona, state: UserState | None = None) -> UserState:
        """The prior, whatever the evidence."""
        return self.method.prior()

    def score(self, states: Sequence[UserState], requests: Sequence[RewardRequest]) -> list[RewardResult]:
        """As the method does."""
        return self.method.score(states, requests)


def longer_wins(cases: Sequence[Case], unit: str = "characters") -> np.ndarray:
    """Rewards (n, 2) of a scorer that reads only the length of the response, in "characters" or "words"."""
    lengths: dict[str, Callable[[str], int]] = {"characters": len, "words": lambda text: len(text.split())}
    if unit not in lengths:
        raise DataError(f"length is counted in {' or '.join(lengths)}, not in {unit!r}")
    count = lengths[unit]
    return np.array([(count(c.example.chosen), count(c.example.rejected)) for c in cases], np.float64).reshape(-1, 2)


def _negated(directions: Directions | None) -> Directions | None:
    return None if directions is None else tuple(-value for value in directions)


def _turned(pair: Pair) -> Pair:
    return replace(pair, chosen=pair.rejected, rejected=pair.chosen, directions=_negated(pair.directions))
