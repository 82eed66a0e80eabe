"""The tastes of one user: items split by what they say and what they were said to.

A user with M tastes answers prompt e with taste m with probability gate_m(e), and then speaks by that taste's
directions: a mixture of experts (Jacobs et al. 1991) whose gate is attention over the user's own items, as in AMP-CF
(Attentive Multi-Persona Collaborative Filtering), where the candidate item decides which persona speaks:

    gate(e) = (1 - doubt) sum_i softmax_i(cos(e_i, e) / temperature) r_i + doubt * share

r (n, M) are responsibilities. One centre for each taste would do where a taste is one topic; what users like in
cooking and in sports has no centre.

EM: r_im is proportional to gate_m(e_i) P(votes_i | directions of m), both without item i itself, so that no item votes
for where it is put. Whether m + 1 tastes are better than m is decided by the variational bound on the votes'
likelihood less `penalty` log(n) for each further taste. Directions are integrated out in the bound, so it already pays
for a second set of them; the penalty, in the manner of BIC, pays for the gate.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from persona_rm.inferrers.contexts import unit
from persona_rm.inferrers.model import EvidenceCounts, Floats, PreferenceModel

WARM = 0.3
"""The first E step trusts what it finds to this power; it grows by 0.1 a step up to 1."""
ROUNDS = 10
"""Of k-means, for a start."""
TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Gate:
    """How tastes share the prompts: see the module."""

    temperature: float
    doubt: float

    def attention(self, cosines: Floats) -> Floats:
        """Weights of items, rows of `cosines` (q, n); -inf is never looked at. A row without any is all zeros."""
        # A row of -inf alone would give -inf - -inf = NaN; no cosine is below -1.
        most = np.maximum(cosines.max(-1, keepdims=True, initial=-1.0), -1.0)
        weights = np.exp((cosines - most) / self.temperature)
        return np.asarray(weights / np.maximum(weights.sum(-1, keepdims=True), TINY))

    def share(self, attention: Floats, responsibilities: Floats, shares: Floats) -> Floats:
        """P(taste | prompt), (q, M)."""
        # Attention adds up to 1, or to 0 in a row without any: then the shares decide alone.
        sure = (1 - self.doubt) * attention.sum(-1, keepdims=True)
        return np.asarray((1 - self.doubt) * attention @ responsibilities + (1 - sure) * shares)


@dataclass(frozen=True, slots=True)
class Mixture:
    """A split of n items into M tastes."""

    contexts: Floats
    """(n, d), of length one; zeros where no text is known."""
    responsibilities: Floats
    """(n, M)."""
    bound: float
    """log P(votes) is at least this, in nats."""

    @property
    def shares(self) -> Floats:
        """(M,): of the user's items."""
        n, m = self.responsibilities.shape
        # One more item for each taste, so that an empty taste keeps a share above 0.
        return np.asarray((self.responsibilities.sum(0) + 1) / (n + m))

    def weights(self, context: Floats | None, gate: Gate) -> Floats:
        """P(taste | prompt), (M,), for a context of length one; the shares where there is none."""
        if context is None or not self.contexts.any():
            return self.shares
        cosines = np.where(self.contexts.any(-1), self.contexts @ context, -np.inf)[None]
        return np.asarray(gate.share(gate.attention(cosines), self.responsibilities, self.shares)[0])

    def counts(self, items: EvidenceCounts) -> EvidenceCounts:
        """What each taste was heard to say: rows are tastes."""
        return weigh(items, self.responsibilities)


def weigh(items: EvidenceCounts, responsibilities: Floats) -> EvidenceCounts:
    """The items' counts by taste, from one row for each item."""
    votes = np.einsum("nm,nsdv->msdv", responsibilities, items.votes)
    return EvidenceCounts(votes, responsibilities.T @ items.totals)


def choose_mixture(
    model: PreferenceModel,
    items: EvidenceCounts,
    contexts: Floats,
    gate: Gate,
    most: int,
    penalty: float,
    iterations: int,
) -> Mixture:
    """The number of tastes, up to `most`, that the evidence pays for; every taste needs two items to start with."""
    n = len(items)
    best = single(model, items, contexts)
    for size in range(2, min(most, n // 2) + 1):
        # Greedy: larger sizes than the first that does not pay are not tried. A size costs one run of EM per start.
        larger = split(model, items, contexts, gate, size, iterations)
        if larger.bound - penalty * np.log(n) <= best.bound:
            break
        best = larger
    return best


def single(model: PreferenceModel, items: EvidenceCounts, contexts: Floats) -> Mixture:
    """Everything in one taste."""
    whole = np.ones((len(items), 1))
    return Mixture(contexts, whole, float(model.log_evidence(weigh(items, whole))[0]))


def split(
    model: PreferenceModel, items: EvidenceCounts, contexts: Floats, gate: Gate, size: int, iterations: int
) -> Mixture:
    """`size` tastes: EM from a start by contexts and one by votes; the better of the two."""
    # (n, D): the votes of each item, positive minus negative, over all sources.
    net = (items.votes[..., 1] - items.votes[..., 0]).sum(1)
    starts = [_start(features, size) for features in (contexts, net) if features.any()]
    splits = [_climb(model, items, contexts, gate, start, iterations) for start in starts or [_start(net, size)]]
    return max(splits, key=lambda one: one.bound)


def _climb(
    model: PreferenceModel, items: EvidenceCounts, contexts: Floats, gate: Gate, start: Floats, iterations: int
) -> Mixture:
    said = model.evidence(items)
    cosines = np.where(contexts.any(-1), contexts @ contexts.T, -np.inf)
    cosines[~contexts.any(-1)] = -np.inf
    # No item looks at itself, or it would vote for where it is put.
    np.fill_diagonal(cosines, -np.inf)
    attention = gate.attention(cosines)
    now = Mixture(contexts, start, 0.0)
    for step in range(iterations):
        gates = gate.share(attention, now.responsibilities, now.shares)
        logs = np.log(gates + TINY) + _predicted(model, said, now.responsibilities)
        # As in deterministic annealing: responsibilities that are certain after one step could not leave their start.
        logs *= min(1.0, WARM + 0.1 * step)
        likelihoods = np.exp(logs - logs.max(-1, keepdims=True))
        now = Mixture(contexts, likelihoods / likelihoods.sum(-1, keepdims=True), 0.0)
    r = now.responsibilities
    gates = gate.share(attention, r, now.shares)
    # The evidence of each taste's votes, plus the expected log gate and the entropy of the responsibilities r.
    bound = model.log_evidence(now.counts(items)).sum() + (r * np.log((gates + TINY) / (r + TINY))).sum()
    return Mixture(contexts, r, float(bound))


def _predicted(model: PreferenceModel, said: Floats, responsibilities: Floats) -> Floats:
    """log P(votes of item | directions of taste, told by the other items), (n, M), from `said` (n, D, 3)."""
    n, m = responsibilities.shape
    # (n, M, D, 3): what each taste was heard to say, less the item's own part.
    others = np.tensordot(responsibilities.T, said, 1)[None] - responsibilities[..., None, None] * said[:, None]
    given = model.marginals(others.reshape(n * m, *said.shape[1:])).reshape(others.shape)
    # Per dimension the sum over directions of P(direction | other items) P(vote | direction), then the sum of the
    # logs.
    return np.asarray(np.log((given * np.exp(said)[:, None]).sum(-1) + 1e-300).sum(-1))


def _start(features: Floats, size: int) -> Floats:
    """Responsibilities (n, size) from k-means by cosine, from centres that are far from one another. They are 0 or 1:
    where one vote says much, a fifth of an item in the other taste would make both tastes the same."""
    rows = unit(features)
    member = (rows @ rows[_far_apart(rows, size)].T).argmax(-1)
    # Spherical k-means: rows and centres have length one, so the nearest centre is the one with the largest product.
    for _ in range(ROUNDS):
        centres = unit(np.stack([rows[member == m].sum(0) for m in range(size)]))
        member = (rows @ centres.T).argmax(-1)
    return np.asarray(np.eye(size)[member])


def _far_apart(rows: Floats, size: int) -> npt.NDArray[np.int64]:
    """Farthest first: the row least like the others, then whichever is least like those chosen already."""
    alike = rows @ rows.T
    chosen = [int(alike.mean(-1).argmin())]
    while len(chosen) < size:
        nearest = alike[:, chosen].max(-1)
        nearest[chosen] = np.inf
        chosen.append(int(nearest.argmin()))
    return np.array(chosen, np.int64)
