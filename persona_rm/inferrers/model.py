"""The population part of `posterior`: how users differ, and how evidence speaks about them.

For one user, with directions t_d in {-1, 0, 1}, a latent class k and items i of source s_i with votes v_id:

    P(k, t, v) = share_k  prod_d class_kd(t_d)  prod_i prod_d table_{s_i, d}(v_id | t_d)

`table` is the confusion matrix of a source on a dimension: what its items, as the annotator reads them, say about
users whose direction is known (Dawid and Skene 1979: observers with error rates, here the observer is "an item of
this source, annotated"). `class` is a population prior that knows which directions go together: with K classes the
joint distribution of directions is a non-negative tensor of rank K (latent class analysis, Lazarsfeld and Henry
1968); K = 1 is one independent prior per dimension. Given the class, dimensions are independent, so everything below
is exact, and depends on the items through weighted counts alone: a new item adds to the counts, in whatever order.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class EvidenceCounts:
    """What the items of n users say. `votes` (n, S, D, 2): weighted items that vote negative, positive; `totals`
    (n, S): weighted items."""

    votes: Floats
    totals: Floats

    def __len__(self) -> int:
        return len(self.totals)

    def of(self, rows: npt.NDArray[np.int64]) -> "EvidenceCounts":
        """Some of the users."""
        return EvidenceCounts(self.votes[rows], self.totals[rows])


def count(votes: npt.NDArray[np.int8], sources: npt.NDArray[np.int64], n_sources: int) -> EvidenceCounts:
    """Counts of items that weigh the same: votes (n, I, D) of -1, 0 and 1, the source of each item (n, I), -1: none.

    At most 255 items of one source.
    """
    n, _, size = votes.shape
    told, totals = np.zeros((n, n_sources, size, 2)), np.zeros((n, n_sources))
    sides = [votes == way for way in (-1, 1)]
    for source in np.unique(sources[sources >= 0]):
        mine = sources == source
        totals[:, source] = mine.sum(1)
        for side, one in enumerate(sides):
            # Summed in bytes, which is where the bound of 255 items comes from.
            told[:, source, :, side] = (one & mine[..., None]).sum(1, dtype=np.uint8)
    return EvidenceCounts(told, totals)


# Without slots: `cached_property` keeps its value in the instance's dictionary.
@dataclass(frozen=True)
class PreferenceModel:
    """Shapes: S sources, D dimensions, K classes; the last axis runs over negative, neutral, positive."""

    sources: tuple[str, ...]
    tables: Floats
    """(S, D, 3, 3): P(vote | direction), direction before vote."""
    classes: Floats
    """(K, D, 3): P(direction | class)."""
    shares: Floats
    """(K,): P(class)."""

    @property
    def size(self) -> int:
        """The number of dimensions."""
        return int(self.classes.shape[1])

    @property
    def prior(self) -> Floats:
        """(D, 3): the population's directions."""
        return np.asarray(np.tensordot(self.shares, self.classes, 1))

    def evidence_of(self, source: int, counts: EvidenceCounts) -> Floats:
        """log P(votes of one source | direction) per user and dimension, (n, D, 3)."""
        negative, silent, positive = self._logs[source]
        # The last line adds the evidence as if every item were silent; each vote takes the place of one silent item.
        votes = counts.votes[:, source]
        told = votes[..., 0] * (negative - silent)
        told += votes[..., 1] * (positive - silent)
        told += counts.totals[:, source, None] * silent
        return np.asarray(told.transpose(1, 2, 0))

    @cached_property
    def _logs(self) -> Floats:
        """log P(vote | direction) as (S, vote, direction, 1, D): long rows, which is what makes `evidence_of` fast."""
        return np.ascontiguousarray(np.log(self.tables).transpose(0, 3, 2, 1))[:, :, :, None]

    def evidence(self, counts: EvidenceCounts) -> Floats:
        """log P(votes | direction) of all sources, (n, D, 3)."""
        return np.asarray(sum(self.evidence_of(s, counts) for s in range(len(self.sources))))

    def posterior(self, evidence: Floats) -> tuple[Floats, Floats]:
        """P(class | evidence) (n, K) and P(direction | class, evidence) (n, K, D, 3)."""
        # The largest likelihood of a dimension becomes 1. The factor is the same for all classes, so it cancels in
        # both results.
        likelihood = np.exp(evidence - evidence.max(-1, keepdims=True))
        joint = likelihood[:, None] * self.classes
        sums = joint.sum(-1)
        # Logarithms, because a product over all dimensions could underflow.
        weights = np.log(self.shares) + np.log(sums).sum(-1)
        weights = np.exp(weights - weights.max(-1, keepdims=True))
        return weights / weights.sum(-1, keepdims=True), joint / sums[..., None]

    def marginals(self, evidence: Floats) -> Floats:
        """P(direction | evidence), (n, D, 3); `posterior` summed over classes, without its large table."""
        # Dimension first, so that the products over directions are matrix products: likelihood (D, n, 3), classes (D,
        # 3, K), sums (D, n, K).
        likelihood = np.exp(evidence - evidence.max(-1, keepdims=True)).transpose(1, 0, 2)
        classes = self.classes.transpose(1, 2, 0)
        sums = likelihood @ classes
        # A sum is at least the smallest probability of a class (1e-4 after `em`), so a product of eight does not
        # underflow.
        logs = [np.log(sums[d : d + 8].prod(0)) for d in range(0, len(sums), 8)]  # a logarithm costs eight products
        weights = np.log(self.shares) + np.sum(logs, axis=0)
        weights = np.exp(weights - weights.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        # P(t) = likelihood_t * sum_k P(k) class_kt / sums_k: one product instead of a table (n, K, D, 3).
        joint = likelihood * ((weights / sums) @ classes.transpose(0, 2, 1))
        return np.ascontiguousarray(joint.transpose(1, 0, 2))

    def log_evidence(self, counts: EvidenceCounts) -> Floats:
        """log P(votes) of each user, (n,): what models are compared by."""
        evidence = self.evidence(counts)
        most = evidence.max(-1, keepdims=True)
        sums = np.exp(evidence - most)[:, None] * self.classes
        each = np.log(self.shares) + np.log(sums.sum(-1)).sum(-1)
        top = each.max(-1)
        # Both shifts are added back, because these values are compared between models.
        return np.asarray(top + np.log(np.exp(each - top[:, None]).sum(-1)) + most.sum((-1, -2)))
