"""EM finds again the model that people were drawn from, with labels and without."""

import numpy as np
import pytest

from persona_rm.inferrers.em import FLOOR, FitConfig, choose_model, fit_model
from persona_rm.inferrers.model import EvidenceCounts
from tests.inferrers.inferrer_samples import SOURCES, draw, known_model

PEOPLE = 1500
TOLERANCE = 0.06
"""Of a probability: some 300 people hold the rarer pole, so its rates have a standard error of about 0.01, and the
rates that EM infers have more."""


def matched(model, true):
    """The classes in the order of the true ones: their numbers carry no meaning."""
    if len(model.shares) == 1:
        return model.classes, model.shares
    order = [int(np.abs(model.classes - row).sum((1, 2)).argmin()) for row in true.classes]
    assert sorted(order) == list(range(len(order))), "two classes found the same one"
    return model.classes[order], model.shares[order]


@pytest.mark.parametrize("labels", [False, True], ids=["votes alone", "labels"])
@pytest.mark.parametrize("classes", [1, 2])
def test_the_model_is_found_again(classes, labels):
    true = known_model(classes)
    drawn = draw(true, PEOPLE, seed=1)
    found = fit_model(SOURCES, drawn.counts, FitConfig(classes=classes), drawn.truth if labels else None)
    priors, shares = matched(found, true)
    np.testing.assert_allclose(found.tables, true.tables, atol=TOLERANCE)
    np.testing.assert_allclose(priors, true.classes, atol=TOLERANCE + 0.02)
    np.testing.assert_allclose(shares, true.shares, atol=TOLERANCE)
    np.testing.assert_allclose(found.prior, true.prior, atol=TOLERANCE)


@pytest.mark.parametrize("classes", [1, 2])
def test_votes_alone_are_as_good_as_labels_to_within_noise(classes):
    true = known_model(classes)
    drawn, fresh = draw(true, PEOPLE, seed=1), draw(true, PEOPLE, seed=2).counts
    with_, without = (
        fit_model(SOURCES, drawn.counts, FitConfig(classes=classes), labels) for labels in (drawn.truth, None)
    )
    np.testing.assert_allclose(without.tables, with_.tables, atol=TOLERANCE)
    nats = [model.log_evidence(fresh).mean() for model in (true, with_, without)]
    assert nats[1] == pytest.approx(nats[0], abs=0.1)
    assert nats[2] == pytest.approx(nats[0], abs=0.1)


@pytest.mark.parametrize("classes", [1, 2])
def test_the_evidence_never_falls(classes):
    counts = draw(known_model(classes), PEOPLE, seed=3).counts
    steps = [0, 1, 2, 4, 8, 16, 32, 64]
    configs = [FitConfig(classes=classes, iterations=n, tolerance=0) for n in steps]
    nats = [float(fit_model(SOURCES, counts, config).log_evidence(counts).mean()) for config in configs]
    assert min(np.diff(nats)) > -1e-4, "more than smoothing explains"
    assert nats[-1] > nats[0] + 0.5


def test_a_fit_stops_where_the_figures_stand_still():
    counts = draw(known_model(), 300).counts
    short, long = (fit_model(SOURCES, counts, FitConfig(iterations=n, tolerance=1e-3)) for n in (80, 800))
    np.testing.assert_array_equal(short.tables, long.tables)


@pytest.mark.parametrize("classes", [1, 2])
def test_the_number_of_classes_is_chosen(classes):
    """Thirty dimensions: correlations stand clear of the noise of 300 held-out people."""
    counts = draw(known_model(classes, 30), PEOPLE, seed=4).counts
    found, scores = choose_model(SOURCES, counts, FitConfig(iterations=30), (1, 2, 3))
    assert len(found.shares) == classes
    assert set(scores) == {1, 2, 3}
    assert scores[classes] == max(scores.values())


def test_held_out_people_are_not_learned_from():
    """A score is of the model of the others: altering the held-out fifth moves the score, not that model."""
    drawn = draw(known_model(), 200, seed=5)
    order = np.random.default_rng(0).permutation(200)
    rest = np.sort(order[40:])
    _, scores = choose_model(SOURCES, drawn.counts, FitConfig(), (1,))
    alone = fit_model(SOURCES, drawn.counts.of(rest), FitConfig())
    assert scores[1] == pytest.approx(alone.log_evidence(drawn.counts.of(np.sort(order[:40]))).mean(), rel=1e-12)


def test_the_same_seed_gives_the_same_model():
    counts = draw(known_model(2), 300).counts
    first, again, other = (fit_model(SOURCES, counts, FitConfig(classes=2, seed=seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first.classes, again.classes)
    assert (first.classes != other.classes).any()


@pytest.mark.parametrize("classes", [1, 3])
def test_a_dimension_that_nobody_speaks_on_stays_finite(classes):
    counts = draw(known_model(), 300).counts
    counts.votes[:, :, 2] = 0
    found = fit_model(SOURCES, counts, FitConfig(classes=classes))
    for rows in (found.tables, found.classes, found.shares[None]):
        assert np.isfinite(rows).all()
        assert (rows >= FLOOR * 0.99).all()
        np.testing.assert_allclose(rows.sum(-1), 1, rtol=1e-9)
    assert found.prior[2].argmax() == 1
    assert np.isfinite(found.marginals(found.evidence(counts))).all()


def test_a_source_without_items_keeps_generic_rates():
    """What is not known is what `GENERIC` says: right more often than wrong, and mostly silent."""
    drawn = draw(known_model(), 300).counts
    votes, totals = (np.concatenate([x, np.zeros_like(x[:, :1])], 1) for x in (drawn.votes, drawn.totals))
    table = fit_model((*SOURCES, "new"), EvidenceCounts(votes, totals), FitConfig()).tables[2]
    assert (table[:, 0, 0] > table[:, 0, 2]).all()
    assert (table[:, 2, 2] > table[:, 2, 0]).all()
    np.testing.assert_allclose(table[:, 0], table[:, 2, ::-1], rtol=1e-9)


def test_nobody_has_items():
    found = fit_model(SOURCES, EvidenceCounts(np.zeros((20, 2, 6, 2)), np.zeros((20, 2))), FitConfig(classes=2))
    assert np.isfinite(found.tables).all()
    assert np.isfinite(found.classes).all()


def test_a_pole_that_few_hold_borrows_rates():
    """Nobody holds d0's negative pole: its row is that of the other dimensions, turned over, not a guess."""
    true = known_model()
    true.classes[:, 0] = [0.0, 0.7, 0.3]
    drawn = draw(true, PEOPLE, seed=6)
    assert not (drawn.truth[:, 0] == -1).any()
    found = fit_model(SOURCES, drawn.counts, FitConfig(), drawn.truth)
    np.testing.assert_allclose(found.tables[:, 0, 0], true.tables[:, 0, 0], atol=TOLERANCE)


def test_a_pole_that_nobody_holds_anywhere_mirrors_the_other():
    true = known_model()
    true.classes[:] = [0.0, 0.7, 0.3]
    drawn = draw(true, PEOPLE, seed=7)
    found = fit_model(SOURCES, drawn.counts, FitConfig(), drawn.truth)
    np.testing.assert_allclose(found.tables[:, :, 0], true.tables[:, :, 2, ::-1], atol=TOLERANCE)
