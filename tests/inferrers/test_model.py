"""The model's sums against enumeration of every class and every direction, item by item."""

from itertools import product

import numpy as np
import pytest

from persona_rm.inferrers.model import EvidenceCounts
from tests.inferrers.inferrer_samples import one, random_model

D, K, S, ITEMS = 3, 2, 2, 4


@pytest.fixture(params=range(3))
def model(request):
    return random_model(D, K, S, seed=request.param)


@pytest.fixture
def votes():
    """(n, S, I, D)."""
    return np.random.default_rng(7).integers(-1, 2, (5, S, ITEMS, D))


def joint(model, votes):
    """P(class, directions, votes) of one person, by class and directions; the definition, without logarithms."""
    found = {}
    for k, t in product(range(K), product(range(3), repeat=D)):
        p = model.shares[k] * np.prod([model.classes[k, d, t[d]] for d in range(D)])
        for s, i, d in product(range(S), range(votes.shape[1]), range(D)):
            p *= model.tables[s, d, t[d], votes[s, i, d] + 1]
        found[k, t] = p
    return found


def counts_of(votes):
    each = [one(person) for person in votes]
    return EvidenceCounts(np.concatenate([c.votes for c in each]), np.concatenate([c.totals for c in each]))


def test_marginals_equal_enumeration(model, votes):
    found = model.marginals(model.evidence(counts_of(votes)))
    for row, person in zip(found, votes, strict=True):
        every = joint(model, person)
        by_hand = np.zeros((D, 3))
        for (_, t), p in every.items():
            by_hand[np.arange(D), t] += p
        np.testing.assert_allclose(row, by_hand / sum(every.values()), rtol=1e-10)


def test_posterior_equals_enumeration_and_sums_to_marginals(model, votes):
    evidence = model.evidence(counts_of(votes))
    classes, directions = model.posterior(evidence)
    np.testing.assert_allclose(np.einsum("nk,nkdt->ndt", classes, directions), model.marginals(evidence), rtol=1e-10)
    for row, given, person in zip(classes, directions, votes, strict=True):
        every = joint(model, person)
        for k in range(K):
            inside = {t: p for (c, t), p in every.items() if c == k}
            assert row[k] == pytest.approx(sum(inside.values()) / sum(every.values()), rel=1e-10)
            held = sum(p for t, p in inside.items() if t[1] == 2) / sum(inside.values())
            assert given[k, 1, 2] == pytest.approx(held, rel=1e-10)


def test_log_evidence_equals_enumeration(model, votes):
    by_hand = [np.log(sum(joint(model, person).values())) for person in votes]
    np.testing.assert_allclose(model.log_evidence(counts_of(votes)), by_hand, rtol=1e-12)


def test_evidence_is_a_sum_over_items_and_sources(model, votes):
    found = model.evidence(counts_of(votes))
    by_hand = np.zeros((len(votes), D, 3))
    for n, s, i, d in product(range(len(votes)), range(S), range(ITEMS), range(D)):
        by_hand[n, d] += np.log(model.tables[s, d, :, votes[n, s, i, d] + 1])
    np.testing.assert_allclose(found, by_hand, rtol=1e-12)
    halves = model.evidence(counts_of(votes[:, :, :1])), model.evidence(counts_of(votes[:, :, 1:]))
    np.testing.assert_allclose(sum(halves), found, rtol=1e-12)
    by_source = [model.evidence_of(s, counts_of(votes)) for s in range(S)]
    np.testing.assert_allclose(sum(by_source), found, rtol=1e-12)


def test_without_evidence_the_prior_speaks(model):
    silent = EvidenceCounts(np.zeros((1, S, D, 2)), np.zeros((1, S)))
    np.testing.assert_allclose(model.marginals(model.evidence(silent))[0], model.prior, rtol=1e-12)
    np.testing.assert_allclose(model.prior.sum(-1), 1, rtol=1e-12)
    assert model.log_evidence(silent) == pytest.approx(0, abs=1e-12)


def test_weights_of_items_are_powers(model, votes):
    """An item that counts half twice is the item."""
    once = counts_of(votes[:1, :, :1])
    half = EvidenceCounts(once.votes / 2, once.totals / 2)
    np.testing.assert_allclose(2 * model.evidence(half), model.evidence(once), rtol=1e-12)


def test_ten_thousand_items_stay_finite(model):
    loud = EvidenceCounts(np.zeros((1, S, D, 2)), np.full((1, S), 1e4))
    loud.votes[..., 0] = 1e4
    found = model.marginals(model.evidence(loud))
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-12)
    assert np.isfinite(model.log_evidence(loud)).all()


def test_some_of_the_people(votes):
    every = counts_of(votes)
    some = every.of(np.array([3, 0]))
    assert len(some) == 2
    np.testing.assert_array_equal(some.votes, every.votes[[3, 0]])
    np.testing.assert_array_equal(some.totals, every.totals[[3, 0]])
