"""Fitting a `PreferenceModel`: expectation-maximisation in the manner of Dawid and Skene (1979), smoothed.

E: P(class, direction | votes) of every user under the model. M: a row of a confusion matrix is the share of votes
among users of that direction; a class's prior is the share of directions among its users. Labels, where users have
them, stand in the place of the E step's directions. Rows are drawn towards what all dimensions of a source have in
common (turned over: what a vote for the other pole says about the other pole), with the weight of `strength` items, so
that a rare direction has error rates too; class priors towards the dimension's own, with the weight of `pull` users.
"""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from persona_rm.inferrers.model import EvidenceCounts, Floats, PreferenceModel

FLOOR = 1e-4
"""No probability is smaller: one odd item must not exclude a direction."""
GENERIC = np.array([[0.30, 0.66, 0.04], [0.05, 0.90, 0.05], [0.04, 0.66, 0.30]])
"""P(vote | direction) of a source that nothing is known about yet: most items are silent on most dimensions, one that
speaks is right more often than not. What a few items of it say outweighs this."""
DOUBT = 5.0
"""The weight of `GENERIC`, in items."""


@dataclass(frozen=True, slots=True)
class FitConfig:
    """`strength` in items, `pull` in users; `iterations` at most, fewer where the figures stand still."""

    classes: int = 1
    iterations: int = 60
    strength: float = 30.0
    pull: float = 3.0
    seed: int = 0
    tolerance: float = 5e-4


def fit_model(
    sources: tuple[str, ...], counts: EvidenceCounts, config: FitConfig, labels: npt.NDArray[np.int64] | None = None
) -> PreferenceModel:
    """The model of these users. `labels` (n, D) of -1, 0 and 1 are known directions."""
    known = None if labels is None else np.stack([labels == way for way in (-1, 0, 1)], -1).astype(float)
    # EM climbs to the maximum nearest to its start, so it starts from what the votes say, not at random.
    directions = known if known is not None else _start(counts)
    # Random, because classes that begin equal would stay equal in every step.
    members = np.random.default_rng(config.seed).dirichlet(np.ones(config.classes), len(counts))
    model = _maximise(sources, counts, directions, members, config)
    for _ in range(config.iterations):
        before = model
        members, directions = _expect(model, counts, known)
        model = _maximise(sources, counts, directions, members, config)
        if _moved(before, model) < config.tolerance:
            break
    return model


def choose_model(
    sources: tuple[str, ...],
    counts: EvidenceCounts,
    config: FitConfig,
    sizes: tuple[int, ...],
    labels: npt.NDArray[np.int64] | None = None,
) -> tuple[PreferenceModel, dict[int, float]]:
    """The model with the fewest classes that predict a held-out fifth of the users as well as the best does: to
    within one standard error of the difference, which is paired by user.

    Also the mean log P(votes) of a held-out user by number of classes, in nats.
    """
    order = np.random.default_rng(config.seed).permutation(len(counts))
    # Drawn once, so that all numbers of classes are compared on the same users.
    held, rest = np.sort(order[: len(order) // 5]), np.sort(order[len(order) // 5 :])
    tried = {size: replace(config, classes=size) for size in sizes}
    each = {}
    for size, one in tried.items():
        model = fit_model(sources, counts.of(rest), one, None if labels is None else labels[rest])
        each[size] = model.log_evidence(counts.of(held))
    best = max(sizes, key=lambda size: each[size].mean())
    behind = {size: each[best] - each[size] for size in sizes}
    # The difference of `best` to itself is 0, so at least one size remains.
    few = min(size for size, lost in behind.items() if lost.mean() <= lost.std() / np.sqrt(len(held)))
    # The chosen number of classes is fitted once more, on the held-out users too.
    return fit_model(sources, counts, tried[few], labels), {size: float(e.mean()) for size, e in each.items()}


def _start(counts: EvidenceCounts) -> Floats:
    """Directions from the net votes of all sources, in standard deviations of votes that are drawn evenly."""
    negative, positive = counts.votes.sum(1)[..., 0], counts.votes.sum(1)[..., 1]
    z = (positive - negative) / np.sqrt(np.maximum(counts.totals.sum(1), 1.0))[:, None]
    # Weights before normalisation: a pole outweighs neutral from |z| = 1.5 on, and no direction is excluded.
    start = np.stack([np.clip(-z - 1, 0.02, 1), np.full_like(z, 0.5), np.clip(z - 1, 0.02, 1)], -1)
    return np.asarray(start / start.sum(-1, keepdims=True))


def _expect(model: PreferenceModel, counts: EvidenceCounts, known: Floats | None) -> tuple[Floats, Floats]:
    """P(class) (n, K) and P(class, direction) summed to P(direction) (n, D, 3) of every user."""
    if known is not None:
        # With known directions only the class is latent: log P(class) plus the logs of the class's probabilities of
        # them.
        logs = np.log(model.shares) + np.einsum("ndt,kdt->nk", known, np.log(model.classes))
        members = np.exp(logs - logs.max(-1, keepdims=True))
        return members / members.sum(-1, keepdims=True), known
    members, given = model.posterior(model.evidence(counts))
    # (n, K, D, 3), joint with the class: `_maximise` needs the sums by class as well.
    return members, members[..., None, None] * given


def _maximise(
    sources: tuple[str, ...], counts: EvidenceCounts, directions: Floats, members: Floats, config: FitConfig
) -> PreferenceModel:
    """`directions` (n, D, 3), or (n, K, D, 3) jointly with the class."""
    joint = directions.ndim == 4
    each = directions.sum(1) if joint else directions
    # (D, 3): the population's share of each direction, drawn towards the share over all dimensions.
    pooled = (each.sum(0) + each.sum((0, 1)) / each.sum() * config.pull) / (len(counts) + config.pull)
    by_class = directions.sum(0) if joint else np.einsum("nk,ndt->kdt", members, directions)
    classes = (by_class + config.pull * pooled) / (members.sum(0)[:, None, None] + config.pull)
    # One more user for each class: an empty class keeps a share above 0, and its logarithm stays finite.
    shares = (members.sum(0) + 1) / (len(counts) + members.shape[1])
    return PreferenceModel(sources, _tables(counts, each, config.strength), _floored(classes), shares)


def _tables(counts: EvidenceCounts, directions: Floats, strength: float) -> Floats:
    """P(vote | direction) by source and dimension."""
    # told (S, D, direction, 2): weighted votes for negative and positive. every (S, D, direction): weighted items;
    # those without a vote are what `told` leaves of them.
    told = np.einsum("nsdv,ndt->sdtv", counts.votes, directions)
    every = np.einsum("ns,ndt->sdt", counts.totals, directions)
    full = np.stack([told[..., 0], every - told.sum(-1), told[..., 1]], -1)
    # Reversing both axes maps a direction and its vote to the opposite ones, so both poles share one estimate, (S, 3,
    # 3).
    common = full.sum(1) + full.sum(1)[:, ::-1, ::-1] + DOUBT * GENERIC
    common /= common.sum(-1, keepdims=True)
    smoothed = full + strength * common[:, None]
    return _floored(smoothed / smoothed.sum(-1, keepdims=True))


def _floored(rows: Floats) -> Floats:
    held = np.maximum(rows, FLOOR)
    return np.asarray(held / held.sum(-1, keepdims=True))


def _moved(a: PreferenceModel, b: PreferenceModel) -> float:
    return float(max(np.abs(a.tables - b.tables).max(), np.abs(a.classes - b.classes).max()))
