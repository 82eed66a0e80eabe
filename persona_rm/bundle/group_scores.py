"""Rewards that need all responses to one prompt: win rates, and normalisation over the group."""

import math
from collections.abc import Callable, Mapping, Sequence

from persona_rm.bundle.postprocess_config import LARGEST, GroupScale
from persona_rm.errors import ScoreError


def centred(rewards: Sequence[float]) -> list[float]:
    """The rewards minus the group's mean: Dr. GRPO (Liu et al. 2025, arXiv 2503.20783). The unit stays."""
    _check_finite(rewards)
    mean = math.fsum(rewards) / max(len(rewards), 1)
    return [reward - mean for reward in rewards]


def standardised(rewards: Sequence[float]) -> list[float]:
    """Minus the group's mean, in standard deviations (divided by n): GRPO (Shao et al. 2024, arXiv 2402.03300). If
    all rewards are equal but for rounding, all are 0."""
    apart = centred(rewards)
    std = math.sqrt(math.fsum(x * x for x in apart) / max(len(apart), 1))
    largest = max((abs(reward) for reward in rewards), default=0.0)
    return [x / std if std > 1e-12 * largest else 0.0 for x in apart]


def ranked(rewards: Sequence[float]) -> list[float]:
    """The lowest reward becomes -1, the highest 1, the others lie evenly between by rank. Equal rewards share their
    mean rank. A single reward becomes 0."""
    _check_finite(rewards)
    most = max(len(rewards) - 1, 1)
    # Lower rewards minus higher ones, from -(n - 1) to n - 1. Equal rewards count on neither side, which is their mean
    # rank.
    below = [sum(other < reward for other in rewards) - sum(other > reward for other in rewards) for reward in rewards]
    return [difference / most for difference in below]


NORMALISE: Mapping[GroupScale, Callable[[Sequence[float]], list[float]]] = {
    "none": list, "centred": centred, "standardised": standardised, "ranked": ranked,
}  # fmt: skip


def win_rates(matrix: Sequence[Sequence[float]]) -> list[float]:
    """P(i beats j) -> the share of the others that each response beats: the mean of row i without the diagonal.

    The reward of methods without a scalar. With intransitive preferences (A beats B beats C beats A) no scalar
    explains the matrix, and the expected win rate against the policy's other samples is what remains: Zhang et al.
    2024 (GPM, arXiv 2410.02197, section 5), after Wu et al. 2024 (SPPO, arXiv 2405.00675). It is between 0 and 1 with
    a mean of 1/2; a single response gets 1/2. Raises `ScoreError` if the matrix is not square or does not hold
    probabilities with P(i, j) + P(j, i) = 1.
    """
    n = len(matrix)
    if any(len(row) != n for row in matrix):
        raise ScoreError(f"a comparison of {n} responses is {n} rows of {n}, not of {[len(row) for row in matrix]}")
    for i in range(n):
        for j in range(i):
            there, back = matrix[i][j], matrix[j][i]
            if not (0 <= there <= 1 and 0 <= back <= 1 and abs(there + back - 1) < 1e-3):
                raise ScoreError(f"P({i} beats {j}) is {there} and P({j} beats {i}) is {back}: they add up to 1")
    if n == 1:
        return [0.5]
    # `fsum` rounds once, so that the order of the samples does not change a reward.
    return [math.fsum(p for j, p in enumerate(row) if j != i) / (n - 1) for i, row in enumerate(matrix)]


def _check_finite(rewards: Sequence[float]) -> None:
    if bad := tuple(i for i, reward in enumerate(rewards) if not abs(reward) < LARGEST):
        raise ScoreError(f"a reward of the group is not finite, or not below {LARGEST:g}", bad, "not_finite")
