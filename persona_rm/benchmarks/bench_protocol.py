"""The protocol of `persona-rm bench`: unseen texts, users seen and new, every method on the same rows.

A draw deals groups of texts (prompts, topics, debates) and users to folds. In each fold its texts and its users are
left out of the fit together. The users of the fold are new: they show k comparisons under the other texts, and are
scored under the fold's. All other users are scored there too, with everything that they showed (`seen`). Draws are
pooled. Nothing of this module chooses a method or a setting; methods choose theirs on the training part alone.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from persona_rm.benchmarks.base import PriorScorer
from persona_rm.benchmarks.comparisons import drawn, unordered
from persona_rm.benchmarks.controls import derangement
from persona_rm.benchmarks.user_check import balanced
from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.types import Comparison, Pair, Persona, RewardRequest, UserState

BATCH = 4096
"""Comparisons that are scored in one call of a method."""
SEEN = -1
"""In place of k: users of the training part, with all that they showed."""
Floats = npt.NDArray[np.float64]


class BenchScorer(PriorScorer, Protocol):
    """The part of a reward method that the protocol calls; `methods.base.Method` has it."""

    def fit(self, comparisons: Sequence[Comparison]) -> None: ...

    def adapt_all(self, evidence: Sequence[Persona]) -> list[UserState]: ...


class ProtocolConfig(Config):
    """`ks`: comparisons of a new user; `draws` of `folds` folds each. A new user needs max(ks) comparisons under the
    other texts and `fewest_held` under the fold's, of which at most `per_user` are scored, so that all k are measured
    on the same rows. `users`: most users per fold, drawn by their ids (None: all), new and seen each."""

    ks: tuple[int, ...] = (0, 2, 4, 8, 16)
    draws: int = Field(2, ge=1)
    folds: int = Field(3, ge=2)
    per_user: int = Field(32, ge=1)
    fewest_held: int = Field(4, ge=1)
    users: int | None = Field(None, ge=2)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Shown:
    """A user's comparisons under the other texts, in drawn order, and the ones to score."""

    history: Sequence[Comparison]
    held: Sequence[Comparison]


@dataclass(frozen=True, slots=True)
class Split:
    """One fold of one draw: what is fitted on, and the users to score."""

    known: Sequence[Comparison]
    new: Mapping[str, Shown]
    seen: Mapping[str, Shown]


@dataclass(slots=True)
class Margins:
    """r(chosen) - r(rejected) of held-out comparisons: with the own state, with another user's, and with the prior."""

    users: list[str] = field(default_factory=list)
    groups: list[str] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    shuffled: list[float] = field(default_factory=list)
    pooled: list[float] = field(default_factory=list)


@dataclass(slots=True)
class MethodRun:
    """What one method did on one set: margins by k (`SEEN` for seen users), and what it took."""

    name: str
    tables: dict[int, Margins] = field(default_factory=dict)
    fit_seconds: list[float] = field(default_factory=list)
    adapt_seconds: list[float] = field(default_factory=list)
    """Per user with the largest k, features included."""
    state_bytes: list[float] = field(default_factory=list)


def splits(comparisons: Sequence[Comparison], config: ProtocolConfig) -> Iterator[Split]:
    """Every fold of every draw. Raises `DataError` if the comparisons have fewer than two groups or users."""
    sizes = {name: _count(getattr(one, name) for one in comparisons) for name in ("group", "user_id")}
    for name, counts in sizes.items():
        if len(counts) < 2:
            problem = f"unseen texts and new users need two groups of texts and two users: found {len(counts)} {name}"
            raise DataError(problem)
    for draw in range(config.draws):
        seed = config.seed + draw
        text_fold = balanced(sizes["group"], config.folds, seed)
        user_fold = balanced(sizes["user_id"], config.folds, seed)
        for fold in range(config.folds):
            yield _split(comparisons, text_fold, user_fold, fold, config, seed)


def _split(
    comparisons: Sequence[Comparison], text_fold: Mapping[str, int], user_fold: Mapping[str, int], fold: int,
    config: ProtocolConfig, seed: int,
) -> Split:  # fmt: skip
    new_fold = fold % (max(user_fold.values()) + 1)
    known: list[Comparison] = []
    sides: dict[str, tuple[list[Comparison], list[Comparison]]] = {}
    for one in comparisons:
        held = text_fold[one.group] == fold
        sides.setdefault(one.user_id, ([], []))[held].append(one)
        if not held and user_fold[one.user_id] != new_fold:
            known.append(one)
    new, seen = dict[str, Shown](), dict[str, Shown]()
    for user in drawn(sides, str, seed):
        is_new = user_fold[user] == new_fold
        into, least = (new, max(config.ks)) if is_new else (seen, 1)
        history, held_out = sides[user]
        full = config.users is not None and len(into) >= config.users
        if not full and len(history) >= least and len(held_out) >= config.fewest_held:
            # Of a seen user the method may read what it was fitted on; of a new one as much as the largest k.
            shown = _ordered(history, seed, user)[: least if is_new else None]
            into[user] = Shown(shown, _ordered(held_out, seed, user)[: config.per_user])
    return Split(known, new, seen)


def _ordered(rows: Sequence[Comparison], seed: int, user: str) -> list[Comparison]:
    return drawn(rows, lambda row: row.prompt + "\x1f" + unordered(row.chosen, row.rejected), seed, user)


def run_method(
    name: str, make: Callable[[], BenchScorer], comparisons: Sequence[Comparison], config: ProtocolConfig,
    progress: Callable[[], None] = lambda: None,
) -> MethodRun:  # fmt: skip
    """Fit and score one method under the protocol. Raises `DataError` if no fold has two new users to score."""
    run = MethodRun(name, {k: Margins() for k in (*config.ks, SEEN)})
    for split in splits(comparisons, config):
        method = make()
        start = time.perf_counter()
        method.fit(split.known)
        run.fit_seconds.append(time.perf_counter() - start)
        for k in config.ks:
            cut = {user: Shown(one.history[:k], one.held) for user, one in split.new.items()}
            _score(method, cut, run, k, config)
        _score(method, split.seen, run, SEEN, config)
        progress()
    if len(set(run.tables[config.ks[-1]].users)) < 2:
        raise DataError(
            f"no two users have {max(config.ks)} comparisons under some texts and {config.fewest_held} under others: "
            "ask for smaller ks, or give users with more comparisons"
        )
    return run


def _score(method: BenchScorer, users: Mapping[str, Shown], run: MethodRun, k: int, config: ProtocolConfig) -> None:
    """Score the held-out comparisons of these users, and add them to the table of k."""
    if len(users) < 2:
        return
    names = sorted(users)
    start = time.perf_counter()
    states = method.adapt_all([persona_of(user, users[user].history) for user in names])
    if k == max(config.ks):
        run.adapt_seconds.append((time.perf_counter() - start) / len(names))
        run.state_bytes += [float(len(state.to_json().encode())) for state in states]
    # Another draw of donors in every fold, and never the user itself.
    order = derangement(len(names), np.random.default_rng(config.seed + len(run.fit_seconds)))
    own = dict(zip(names, states, strict=True))
    donors = {user: states[i] for user, i in zip(names, order, strict=True)}
    rows = [row for user in names for row in users[user].held]
    table = run.tables[k]
    pooled = margins_of(method, dict.fromkeys(names, method.prior()), rows)
    # Without evidence, own and other states are the prior.
    table.own += margins_of(method, own, rows) if k else pooled
    table.shuffled += margins_of(method, donors, rows) if k else pooled
    table.pooled += pooled
    table.users += [row.user_id for row in rows]
    table.groups += [row.group for row in rows]


def persona_of(user: str, rows: Sequence[Comparison]) -> Persona:
    """The user with these comparisons as evidence."""
    return Persona(user, pairs=tuple(Pair(row.prompt, row.chosen, row.rejected) for row in rows))


def margins_of(method: PriorScorer, states: Mapping[str, UserState], rows: Sequence[Comparison]) -> list[float]:
    """r(chosen) - r(rejected) of each comparison, with the state of its user. Raises `ScoreError`."""
    margins: list[float] = []
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        requests = [
            RewardRequest(row.user_id, row.prompt, text) for row in batch for text in (row.chosen, row.rejected)
        ]
        given = [states[request.user or ""] for request in requests]
        rewards = [result.reward for result in method.score(given, requests)]
        margins += [chosen - rejected for chosen, rejected in zip(rewards[::2], rewards[1::2], strict=True)]
    return margins


def _count(values: Iterator[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for value in values:
        counts[value] = counts.get(value, 0) + 1
    return counts
