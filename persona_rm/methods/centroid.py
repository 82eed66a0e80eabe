"""The pooled reward, moved along the mean difference between what a user chose and rejected.

Rocchio's relevance feedback (1971) on frozen features, with the pooled Bradley-Terry reward as its origin. It needs no
training per user, a new comparison changes a sum, and its state has a fixed size and no text.
"""

import base64
import binascii
from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from persona_rm.backends.base import Vectors
from persona_rm.config import Config
from persona_rm.errors import DataError, ScoreError
from persona_rm.methods.base import Control
from persona_rm.methods.pairwise import Floats, Places, TextPairs
from persona_rm.methods.pooled import FeatureList, PooledConfig, PooledMethod
from persona_rm.methods.states import next_version
from persona_rm.methods.text_folds import TextFolds
from persona_rm.types import Comparison, Persona, RewardRequest, RewardResult, UserState, content_id

SCALES = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""The weights of the personal part among which cross-validation chooses; 0 is the pooled reward."""
MOST_SHRINK = 1000.0
CODED = "<f4"
"""The sum in a state: base64 of little-endian 32-bit floats, a fifth of the size of a JSON list."""


class CentroidConfig(PooledConfig):
    """`shrink` is k in n / (n + k): a user with k comparisons gets half of the personal part. None estimates it.

    `scale` None chooses the weight of the personal part by cross-validation over `folds` groups of prompts. Both are
    learned on whole users with at most `validation` comparisons together.
    """

    features: FeatureList = Field(default=("encoder", "surface"), validate_default=True)
    l2: float | None = Field(None, gt=0)
    shrink: float | None = Field(None, ge=0)
    scale: float | None = Field(None, ge=0)
    validation: int = Field(20_000, gt=0)


class Centroid(PooledMethod):
    """r(u, x, y) = w . f(x, y) + scale * n/(n+k) * (c_u - c) . f(x, y), without the second part for an
    unknown user.

    c_u is the mean over the user's n comparisons of (f(x, y_c) - f(x, y_r)) / |f(x, y_c) - f(x, y_r)|, c the same mean
    over all comparisons of the fit: what all users share is in w already. Comparisons without a preference, or of
    equal responses, are ignored. State: the sum over the user's comparisons, and n.
    """

    name: ClassVar[str] = "centroid"
    Config: ClassVar[type[Config]] = CentroidConfig
    controls: ClassVar[frozenset[Control]] = frozenset({"history", "shuffled", "no_user"})
    learned: ClassVar[tuple[str, ...]] = (*PooledMethod.learned, "centre", "shrink", "scale")
    centre: Floats | None = None
    shrink: Floats | None = None
    scale: Floats | None = None
    """This and `shrink` are arrays of one number."""

    def fit(self, comparisons: Sequence[Comparison]) -> None:
        """Learn w, the mean difference of all users, k, and the weight of the personal part."""
        pairs, vectors = self.fit_pooled(comparisons)
        self.centre = _sum_of_units(pairs, vectors) / len(pairs)
        rows = _whole_users(comparisons, self.config.validation)
        few, users = pairs.rows(rows), np.unique([comparisons[row].user_id for row in rows], return_inverse=True)[1]
        shrink, scale = self.config.shrink, self.config.scale
        if shrink is None:
            shrink = _estimated_shrink(_units(few, vectors), users)
        if scale is None:
            folds = TextFolds.of([comparisons[row] for row in rows], few, self.config.folds)
            scale = self._choose_scale(few, users, folds, vectors, shrink)
        self.shrink, self.scale = np.array([shrink]), np.array([scale])

    def adapt(self, evidence: Persona, state: UserState | None = None) -> UserState:
        """The sum of the user's differences, added to that of `state`."""
        version = next_version(self.name, evidence, state)
        before, n_before = _sum_of(state) if state is not None else (None, 0)
        [(added, n)] = self._sums([evidence])
        if n and before is not None:
            added = added + before
        elif before is not None:
            added = before
        return self._state(evidence.user_id, added, n + n_before, version)

    def adapt_all(self, evidence: Sequence[Persona]) -> list[UserState]:
        """The state of each user; a text that many of them compared is read once."""
        sums = self._sums(evidence)
        return [self._state(one.user_id, total, n, 1) for one, (total, n) in zip(evidence, sums, strict=True)]

    def _state(self, user: str, total: Floats, n: int, version: int) -> UserState:
        payload = {"sum": base64.b64encode(total.astype(CODED).tobytes()).decode(), "n": n} if n else {}
        return UserState(self.name, user, payload, n, version)

    def _sums(self, evidence: Sequence[Persona]) -> list[tuple[Floats, int]]:
        """The sum of each user's differences, each of length one, and their number. Raises `ScoreError`."""
        decided = [(row, pair) for row, one in enumerate(evidence) for pair in one.pairs if pair.is_decided]
        pairs = TextPairs.of([Comparison("", pair.prompt, pair.chosen, pair.rejected) for _, pair in decided])
        vectors = self.standardised(pairs.texts)
        users = np.array([row for row, _ in decided], np.int64)
        if not np.isfinite(vectors).all():
            broken = np.asarray(~np.isfinite(vectors).all(1))
            first = int(users[np.flatnonzero(broken[pairs.chosen] | broken[pairs.rejected])[0]])
            raise ScoreError(f"the encoder gave a number that is not finite for user {evidence[first].user_id!r}")
        sums = np.zeros((len(evidence), vectors.shape[1]))
        for part, rows in pairs.chunks():
            np.add.at(sums, users[rows], _units(part, vectors))
        return list(zip(sums, np.bincount(users, minlength=len(evidence)).tolist(), strict=True))

    def rewards(self, states: Sequence[UserState], requests: Sequence[RewardRequest]) -> list[RewardResult]:
        """The pooled and the personal part of every response. Raises `ScoreError` as `bradley_terry` does."""
        vectors, pooled = self.read(requests)
        # Requests of one user come together, and each state is decoded once.
        directions = {id(state): self._direction(state) for state in states}
        results = []
        for row, (state, request) in enumerate(zip(states, requests, strict=True)):
            direction = directions[id(state)]
            parts = {"pooled": pooled[row]}
            if direction is not None:
                parts["personal"] = float((vectors[row] * direction).sum())
            results.append(self.result(state, request, sum(parts.values()), parts))
        return results

    def _direction(self, state: UserState) -> Floats | None:
        """What the user adds to w; None for an unknown user."""
        total, n = _sum_of(state)
        if total is None or self.centre is None or self.shrink is None or self.scale is None:
            return None
        if total.shape != self.centre.shape:
            raise ScoreError(
                f"the state of user {state.user_id!r} has {len(total)} numbers, {self.name} was fitted on "
                f"{len(self.centre)}: adapt the user again"
            )
        weight = float(self.scale[0] * n / (n + self.shrink[0]))
        return np.asarray(weight * (total / n - self.centre))

    def _choose_scale(
        self, pairs: TextPairs, users: Places, folds: TextFolds, vectors: Vectors, shrink: float
    ) -> float:
        """The weight under which comparisons are most probable whose texts were in no part of the fit.

        For each fold of texts, w, c and all c_u are those of the other folds. Among weights of equal likelihood the
        smallest is taken; it is 0 if no texts can be held out.
        """
        losses = np.zeros(len(SCALES))
        for seen, held in zip(folds.seen, folds.held, strict=True):
            weights = self.refitted(vectors, pairs.rows(seen))
            units = _units(pairs.rows(seen), vectors)
            sums, counts = _by_user(units, users[seen], users.max() + 1)
            means = sums / np.maximum(counts, 1)[:, None] - units.mean(0)
            means *= (counts / np.maximum(counts + shrink, 1))[:, None]
            differences = pairs.rows(held).differences(vectors)
            pooled = differences @ weights
            personal = np.einsum("ij,ij->i", differences, means[users[held]])
            losses += [float(np.logaddexp(0, -(pooled + scale * personal)).sum()) for scale in SCALES]
        return SCALES[int(np.argmin(losses))]


def _by_user(units: Floats, users: Places, n_users: int) -> tuple[Floats, Floats]:
    """The sum of each user's rows, and their number."""
    sums = np.zeros((n_users, units.shape[1]))
    np.add.at(sums, users, units)
    return sums, np.bincount(users, minlength=n_users).astype(np.float64)


def _estimated_shrink(units: Floats, users: Places) -> float:
    """k = variance within users / variance between users, by the method of moments (one-way analysis of variance).

    With it n / (n + k) is the James-Stein weight of a mean of n comparisons: users who hardly differ, or whose
    comparisons hardly agree, keep little of their own mean. At most `MOST_SHRINK`.
    """
    sums, counts = _by_user(units, users, users.max() + 1)
    n, n_users = len(units), len(counts)
    squares = (sums**2).sum(1) / counts
    if n <= n_users or n_users < 2:
        return MOST_SHRINK
    within = (float((units**2).sum()) - squares.sum()) / (n - n_users)
    total = units.sum(0)
    spread = squares.sum() - float(total @ total) / n - (n_users - 1) * within
    between = spread / (n - (counts**2).sum() / n)
    return float(np.clip(within / between, 1.0, MOST_SHRINK)) if between > 0 else MOST_SHRINK


def _sum_of(state: UserState) -> tuple[Floats | None, int]:
    """The sum and n of a state. Raises `DataError` if the payload is of another kind."""
    payload = state.payload
    if not payload:
        return None, 0
    try:
        total = np.frombuffer(base64.b64decode(payload["sum"], validate=True), CODED)
        n = payload["n"]
        if type(n) is not int or n < 1:
            raise ValueError(f"n is {n!r}")
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        raise DataError(f"the state of user {state.user_id!r} does not hold the sum of a centroid: {error}") from error
    return total.astype(np.float64), n


def _units(pairs: TextPairs, vectors: Vectors) -> Floats:
    """The differences of the rows, each of length one; 0 for equal vectors."""
    differences = pairs.differences(vectors)
    lengths = np.linalg.norm(differences, axis=1, keepdims=True)
    units: Floats = differences / np.where(lengths > 0, lengths, 1.0)
    return units


def _sum_of_units(pairs: TextPairs, vectors: Vectors) -> Floats:
    total = np.zeros(vectors.shape[1])
    for part, _ in pairs.chunks():
        total += _units(part, vectors).sum(0)
    return total


def _whole_users(comparisons: Sequence[Comparison], most: int) -> Places:
    """The rows of whole users with at most `most` comparisons together, drawn by a hash of their ids."""
    if len(comparisons) <= most:
        return np.arange(len(comparisons))
    counts: dict[str, int] = {}
    for one in comparisons:
        counts[one.user_id] = counts.get(one.user_id, 0) + 1
    kept, total = set(), 0
    for user in sorted(counts, key=content_id):
        if total and total + counts[user] > most:
            break
        kept.add(user)
        total += counts[user]
    return np.array([row for row, one in enumerate(comparisons) if one.user_id in kept])
