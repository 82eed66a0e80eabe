"""Probabilities that were bent by a known power are mended; what was learned on some people holds for others."""

import numpy as np
import pytest

from persona_rm.inferrers.calibration import (
    Calibration,
    expected_calibration_error,
    fit_calibration,
    reliability,
)

PEOPLE, DIMENSIONS = 400, 10


def honest(seed):
    """P(direction) (n, D, 3) and directions drawn from it."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([0.6, 1.5, 0.6], (PEOPLE, DIMENSIONS))
    drawn = (rng.random((PEOPLE, DIMENSIONS, 1)) > p.cumsum(-1)[..., :-1]).sum(-1) - 1
    return p, drawn


def bent(p, power):
    found = p**power
    return found / found.sum(-1, keepdims=True)


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0, 3.0])
def test_temperature_finds_the_power(power):
    p, labels = honest(0)
    found = fit_calibration("temperature", bent(p, power), labels)
    assert found.temperature == pytest.approx(power, rel=0.1)
    others, truth = honest(1)
    mended = found(bent(others, power))
    np.testing.assert_allclose(mended, others, atol=0.05)
    if power != 1:
        assert expected_calibration_error(mended, truth) < expected_calibration_error(bent(others, power), truth) / 2


@pytest.mark.parametrize("bend", [lambda p: bent(p, 3.0), lambda p: 0.6 * p + 0.4 * np.array([0.8, 0.1, 0.1])])
def test_isotonic_improves_other_people(bend):
    p, labels = honest(0)
    found = fit_calibration("isotonic", bend(p), labels)
    others, truth = honest(1)
    raw, mended = bend(others), found(bend(others))
    assert expected_calibration_error(mended, truth) < expected_calibration_error(raw, truth) / 2
    np.testing.assert_allclose(mended.sum(-1), 1, rtol=1e-12)
    assert mended.shape == raw.shape
    assert (mended >= 0).all()


def test_isotonic_never_turns_the_order_of_a_class():
    p, labels = honest(0)
    found = fit_calibration("isotonic", p, labels)
    for c in range(3):
        raw, calibrated = found.knots[c]
        assert (np.diff(raw) > 0).all()
        assert (np.diff(calibrated) >= 0).all()


def test_a_probability_outside_what_was_seen_stays_a_probability():
    p = np.array([[0.3, 0.4, 0.3], [0.4, 0.3, 0.3]] * 20)[:, None]
    labels = np.array([[0], [-1]] * 20)
    for kind in ("temperature", "isotonic"):
        found = fit_calibration(kind, p, labels)(np.array([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]))
        assert np.isfinite(found).all(), kind
        np.testing.assert_allclose(found.sum(-1), 1, rtol=1e-9)


def test_none_changes_nothing():
    p, labels = honest(0)
    assert fit_calibration("none", p, labels) == Calibration()
    assert Calibration()(p) is p


def plain_error(probabilities, labels, bins):
    """Classwise ECE by loops: every probability into its bin."""
    held = [[] for _ in range(bins)]
    for person, truth in zip(probabilities, labels, strict=True):
        for row, direction in zip(person, truth, strict=True):
            for c, p in enumerate(row):
                held[min(int(p * bins), bins - 1)].append((float(p), direction == c - 1))
    n = sum(map(len, held))
    parts = [len(b) / n * abs(sum(p for p, _ in b) / len(b) - sum(y for _, y in b) / len(b)) for b in held if b]
    return sum(parts), [len(b) for b in held if b]


@pytest.mark.parametrize("bins", [1, 10, 15])
def test_the_error_equals_a_plain_loop(bins):
    p, labels = honest(2)
    p = bent(p, 2.0)
    p[0, 0], p[1, 0] = [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]
    expected, sizes = plain_error(p, labels, bins)
    assert expected_calibration_error(p, labels, bins) == pytest.approx(expected, rel=1e-9)
    assert [n for _, _, n in reliability(p, labels, bins)] == sizes


def test_certainty_that_is_wrong_costs_all_of_it():
    certain = np.tile([0.0, 0.0, 1.0], (10, 2, 1))
    assert expected_calibration_error(certain, np.ones((10, 2), int)) == 0
    assert expected_calibration_error(certain, -np.ones((10, 2), int)) == pytest.approx(2 / 3)
