"""Simplex weights are the maximum, and stay near the uniform ones while there is little evidence."""

import numpy as np
import pytest

from persona_rm.methods.lore import simplex_weights


def objective(weights: np.ndarray, read: np.ndarray, margins: np.ndarray, strength: float) -> float:
    divergence = float((weights * np.log(weights * len(weights))).sum())
    return float(np.logaddexp(0, -(margins + read @ weights)).sum()) + strength * divergence


@pytest.mark.parametrize("strength", [0.3, 1.0, 3.0])
def test_the_weights_are_the_maximum(strength: float) -> None:
    rng = np.random.default_rng(0)
    read, margins = rng.normal(size=(12, 5)), rng.normal(size=12)
    weights = simplex_weights(read, margins, strength)
    best = objective(weights, read, margins, strength)
    assert weights.sum() == pytest.approx(1)
    for _ in range(200):
        other = rng.dirichlet(100 * weights)
        assert objective(other, read, margins, strength) >= best - 1e-3


def test_evidence_moves_the_weights_from_even_to_a_corner() -> None:
    read = np.tile([2.0, 0.0, -2.0], (50, 1))
    few, many = (simplex_weights(read[:n], np.zeros(n), 1.0) for n in (1, 50))
    assert 1 / 3 < few[0] < many[0]
    assert many[0] > 0.8
    assert simplex_weights(read[:0], np.zeros(0), 1.0) == pytest.approx([1 / 3] * 3)
