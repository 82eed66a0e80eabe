"""Does a personal reward help the users of a file? Their own comparisons, with whole prompts held out, say it.

Two questions. The same users under unseen prompts: each fold of prompts is held out once, everything is fitted on the
other folds. New users with k comparisons: a fold of users and a fold of prompts are held out together. No number of
this module chooses a method or a setting: the caller names the personal method beforehand.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from persona_rm.benchmarks.base import PriorScorer
from persona_rm.benchmarks.comparisons import drawn, plain
from persona_rm.benchmarks.controls import derangement
from persona_rm.benchmarks.figures import Floats, accuracy
from persona_rm.io.text import counted
from persona_rm.types import Comparison, Pair, Persona, RewardRequest, UserState

BATCH = 2048
"""Comparisons that are scored in one call of a method."""
SMALL = 1000
"""Up to so many comparisons new users are scored under every fold of prompts; above, under one each."""
OWN, SHUFFLED, POOLED, LONGER = "personal", "shuffled", "pooled", "longer"


class UserScorer(PriorScorer, Protocol):
    """The part of a reward method that the check calls; `methods.base.Method` has it."""

    def fit(self, comparisons: Sequence[Comparison]) -> None: ...


Make = Callable[[], UserScorer]
"""Makes a method that is not fitted yet."""


@dataclass(frozen=True, slots=True)
class CheckConfig:
    """`folds` of prompts, and of users; `ks`: comparisons of a new user; `seed` draws the folds and who is given
    whose state."""

    folds: int = 5
    ks: tuple[int, ...] = (2, 4, 8)
    seed: int = 0
    fewest_users: int = 5
    fewest_pairs: int = 30
    """A k is scored if so many new users and held-out comparisons remain."""


@dataclass(slots=True)
class HeldOut:
    """Held-out comparisons with the accuracy (0, 0.5 or 1) of every scorer on each, as columns of equal length."""

    users: list[str] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    right: dict[str, list[float]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.users)

    def column(self, name: str) -> Floats:
        """The accuracies of one scorer."""
        return np.asarray(self.right[name], np.float64)

    def add(self, rows: Sequence[Comparison], right: Mapping[str, npt.ArrayLike]) -> None:
        """Add comparisons with the accuracies of every scorer."""
        self.users += [row.user_id for row in rows]
        self.prompts += [plain(row.prompt) for row in rows]
        for name, values in right.items():
            self.right.setdefault(name, []).extend(np.asarray(values, np.float64).tolist())


@dataclass(frozen=True, slots=True)
class HeldOutChecks:
    """What the check measured. `new[k]` is left out, with the reason in `left_out`, if too little remains."""

    same: HeldOut
    new: Mapping[int, HeldOut]
    left_out: Mapping[int, str]
    no_history: int
    """Held-out comparisons of users without any under the other prompts; they are not among `same`."""


def measure(
    personas: Sequence[Persona], personal: Make, others: Mapping[str, Make], config: CheckConfig | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> HeldOutChecks:  # fmt: skip
    """Score held-out comparisons of these users by the personal method, its controls, and other methods.

    Ties are not among `personas`. The control `POOLED` is the personal method's reward for an unknown user, so both
    read the same features; `SHUFFLED` gives every user the state of another one.
    """
    config = config or CheckConfig()
    data = Folded(personas, config)
    steps = data.n_folds + len(data.diagonal)
    done, same, no_history = 0, HeldOut(), 0
    for fold in range(data.n_folds):
        no_history += _same_users(data, fold, personal, others, same)
        progress(done := done + 1, steps)
    new: dict[int, HeldOut] = {k: HeldOut() for k in config.ks}
    for user_fold, fold in data.diagonal:
        _new_users(data, user_fold, fold, personal, new)
        progress(done := done + 1, steps)
    left_out = {k: reason for k in config.ks if (reason := _too_few(new[k], config))}
    return HeldOutChecks(same, {k: rows for k, rows in new.items() if k not in left_out}, left_out, no_history)


class Folded:
    """The users' comparisons with the fold of each prompt and each user, drawn by hashes of prompts and ids."""

    def __init__(self, personas: Sequence[Persona], config: CheckConfig) -> None:
        self.config = config
        self.pairs = {persona.user_id: persona.pairs for persona in personas if persona.pairs}
        sizes: dict[str, int] = {}
        for pairs in self.pairs.values():
            for pair in pairs:
                key = plain(pair.prompt)
                sizes[key] = sizes.get(key, 0) + 1
        self.fold_of = balanced(sizes, config.folds, config.seed)
        self.n_folds = len(set(self.fold_of.values())) if len(sizes) > 1 else 0
        self.user_fold = balanced({user: len(pairs) for user, pairs in self.pairs.items()}, config.folds, config.seed)

    @property
    def diagonal(self) -> list[tuple[int, int]]:
        """The (fold of users, fold of prompts) that new users are scored in."""
        n_users = len(set(self.user_fold.values()))
        if n_users < 2 or not self.n_folds:
            return []
        if sum(map(len, self.pairs.values())) > SMALL:
            return [(fold % n_users, fold) for fold in range(self.n_folds)]
        return [(user, fold) for user in range(n_users) for fold in range(self.n_folds)]

    def split(self, user: str, fold: int) -> tuple[list[Pair], list[Pair]]:
        """The user's pairs under the other folds of prompts, and under this one."""
        inside: list[Pair] = []
        outside: list[Pair] = []
        for pair in self.pairs[user]:
            (inside if self.fold_of[plain(pair.prompt)] == fold else outside).append(pair)
        return outside, inside


def balanced(sizes: Mapping[str, int], folds: int, seed: int) -> dict[str, int]:
    """Each key's fold: keys in an order drawn by hash, each to the fold with the fewest rows so far."""
    filled = [0] * max(1, min(folds, len(sizes)))
    fold_of = {}
    for key in drawn(sizes, lambda key: key, seed):
        fold_of[key] = filled.index(min(filled))
        filled[fold_of[key]] += sizes[key]
    return fold_of


def comparisons_of(user: str, pairs: Sequence[Pair]) -> list[Comparison]:
    """The pairs as comparisons of this user; the prompt is their group."""
    return [Comparison(user, pair.prompt, pair.chosen, pair.rejected, pair.prompt) for pair in pairs]


def _same_users(data: Folded, fold: int, personal: Make, others: Mapping[str, Make], into: HeldOut) -> int:
    """Score one fold of prompts for users that have history under the others. Returns how many pairs have none."""
    history, held, skipped = {}, {}, 0
    for user in data.pairs:
        outside, inside = data.split(user, fold)
        if outside:
            history[user], held[user] = outside, inside
        else:
            skipped += len(inside)
    rows = [row for user, pairs in held.items() for row in comparisons_of(user, pairs)]
    if not rows:
        return skipped
    known = [row for user, pairs in history.items() for row in comparisons_of(user, pairs)]
    right = _personal_columns(personal, known, history, rows, data.config.seed)
    for name, make in others.items():
        method = make()
        method.fit(known)
        states = {user: method.adapt(Persona(user, pairs=tuple(pairs))) for user, pairs in history.items()}
        right[name] = correct(method, states, rows)
    into.add(rows, right)
    return skipped


def _new_users(data: Folded, user_fold: int, fold: int, personal: Make, into: Mapping[int, HeldOut]) -> None:
    """Score the users of one fold under the prompts of one fold; the method has seen neither."""
    known: list[Comparison] = []
    support: dict[str, list[Pair]] = {}
    held: dict[str, list[Pair]] = {}
    for user in data.pairs:
        outside, inside = data.split(user, fold)
        if data.user_fold[user] != user_fold:
            known += comparisons_of(user, outside)
        elif inside:
            support[user], held[user] = outside, inside
    if not known:
        return
    method = personal()
    method.fit(known)
    for k, table in into.items():
        users = {user: pairs[:k] for user, pairs in support.items() if len(pairs) >= k}
        rows = [row for user in users for row in comparisons_of(user, held[user])]
        if rows:
            table.add(rows, _columns(method, users, rows, data.config.seed))


def _personal_columns(
    personal: Make, known: Sequence[Comparison], history: Mapping[str, Sequence[Pair]], rows: Sequence[Comparison],
    seed: int,
) -> dict[str, Floats]:  # fmt: skip
    method = personal()
    method.fit(known)
    return _columns(method, history, rows, seed)


def _columns(
    method: UserScorer, history: Mapping[str, Sequence[Pair]], rows: Sequence[Comparison], seed: int
) -> dict[str, Floats]:
    """The accuracies with own states, with those of other users, with the prior, and of the longer response."""
    states = {user: method.adapt(Persona(user, pairs=tuple(pairs))) for user, pairs in history.items()}
    users = sorted(states)
    prior = dict.fromkeys(users, method.prior())
    columns = {OWN: correct(method, states, rows), POOLED: correct(method, prior, rows)}
    if len(users) > 1:
        order = derangement(len(users), np.random.default_rng(seed))
        donors = {user: states[users[i]] for user, i in zip(users, order, strict=True)}
        columns[SHUFFLED] = correct(method, donors, rows)
    else:
        # A single user has no other one to swap with: the prior is what is left without the user.
        columns[SHUFFLED] = columns[POOLED]
    columns[LONGER] = accuracy([len(row.chosen.split()) for row in rows], [len(row.rejected.split()) for row in rows])
    return columns


def correct(method: PriorScorer, states: Mapping[str, UserState], rows: Sequence[Comparison]) -> Floats:
    """The accuracy of the method on each comparison, with the state of its user. Raises `ScoreError`."""
    parts = []
    for batch in _batches(rows):
        requests = [
            RewardRequest(row.user_id, row.prompt, text) for row in batch for text in (row.chosen, row.rejected)
        ]
        given = [states[request.user or ""] for request in requests]
        rewards = [result.reward for result in method.score(given, requests)]
        parts.append(accuracy(rewards[::2], rewards[1::2]))
    return np.concatenate(parts)


def _batches(rows: Sequence[Comparison]) -> Iterator[Sequence[Comparison]]:
    for start in range(0, len(rows), BATCH):
        yield rows[start : start + BATCH]


def _too_few(rows: HeldOut, config: CheckConfig) -> str:
    """Why so few held-out comparisons are not worth a figure; "" if they are."""
    users = len(set(rows.users))
    if users >= config.fewest_users and len(rows) >= config.fewest_pairs:
        return ""
    return (
        f"{counted(users, 'user')} with {counted(len(rows), 'held-out comparison')} remain, "
        f"and {config.fewest_users} with {config.fewest_pairs} are needed"
    )
