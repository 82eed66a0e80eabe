"""A view of contexts in which prompts that call for different tastes lie apart, learned without labels.

Sentence vectors are mostly about how a thing is asked; what matters here is what changes users' taste. Where a
population's items were split into tastes by their votes alone, a direction of context space matters if items of one
taste of a user agree on it and those of another do not: the discriminant of Fisher (1936), pooled over users,

    B a = lambda (W + ridge) a,   B between the tastes of a user, W within them.

Directions count that beat the best one found when the same splits are dealt out anew within each user (parallel
analysis, Horn 1965): in a population of one taste there are hardly any, and contexts stay as they were.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from persona_rm.inferrers.contexts import unit
from persona_rm.inferrers.model import Floats

RIDGE = 0.1
"""Of the mean within-taste variance."""
ITEMS = 20
"""So many items for each principal component that is looked at."""


@dataclass(frozen=True, slots=True)
class Lens:
    """`centre` (dim,), `view` (dim, k)."""

    centre: Floats
    view: Floats

    def __call__(self, vectors: Floats) -> Floats:
        """Vectors (n, dim) as seen, of length one, (n, k); zeros, which stand for nothing known, stay zeros."""
        known = vectors.any(-1, keepdims=True)
        return unit(np.where(known, vectors - self.centre, 0.0) @ self.view)


def fit_lens(
    contexts: Sequence[Floats], responsibilities: Sequence[Floats], pieces: int, seed: int = 0
) -> Lens | None:
    """From (n, dim) and (n, M) of each user. `pieces`: principal components that are looked at, at most.

    None if no direction is better than chance.
    """
    every = np.concatenate(contexts)
    centre = every.mean(0)
    parts = _components(every - centre, min(pieces, len(every) // ITEMS))
    rng = np.random.default_rng(seed)
    seen = [(rows - centre) @ parts for rows in contexts]
    # Rows are permuted within a user: the sizes of the tastes stay, their relation to the contexts is lost.
    dealt = [one[rng.permutation(len(one))] for one in responsibilities]
    worth, axes = _discriminants(seen, responsibilities)
    # The largest value by chance is the bar for all directions, which is stricter than comparing them rank by rank.
    better = worth - _discriminants(seen, dealt)[0].max(initial=0.0) > 0
    if not better.any():
        return None
    # Scaled by the root of lambda, so that a direction counts in a cosine by how well it separates tastes.
    return Lens(centre, np.ascontiguousarray(parts @ (axes[:, better] * np.sqrt(worth[better]))))


def _components(centred: Floats, k: int) -> Floats:
    """The k principal directions, (dim, k)."""
    # `eigh` sorts in ascending order.
    return np.asarray(np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :k])


def _discriminants(seen: Sequence[Floats], responsibilities: Sequence[Floats]) -> tuple[Floats, Floats]:
    """lambda (k,), the largest first, and its directions (k, k)."""
    k = seen[0].shape[1]
    between, within = np.zeros((k, k)), np.zeros((k, k))
    for rows, parts in zip(seen, responsibilities, strict=True):
        # sizes (M,), centres (M, k) and off (M, k): the weighted means of the tastes, and their distance from the
        # user's mean.
        sizes = np.maximum(parts.sum(0), 1e-9)
        centres = (parts.T @ rows) / sizes[:, None]
        off = centres - rows.mean(0)
        between += (off * sizes[:, None]).T @ off
        for m in range(parts.shape[1]):
            apart = rows - centres[m]
            within += (apart * parts[:, m : m + 1]).T @ apart
    # Without the ridge, directions with hardly any variance would win by chance, and the factor might not exist.
    ridge = RIDGE * np.trace(within) / k + 1e-9
    # Whitened by the Cholesky factor of `within`, the generalised problem is an ordinary symmetric one. `root.T` maps
    # its directions back.
    root = np.linalg.inv(np.linalg.cholesky(within + ridge * np.eye(k)))
    worth, axes = np.linalg.eigh(root @ between @ root.T)
    return worth[::-1], np.asarray((root.T @ axes)[:, ::-1])
