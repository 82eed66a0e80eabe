"""A user's scale: shrunk to the population's, and as sure as the user's own choices."""

import numpy as np
import pytest

from persona_rm.methods.episodes import Episode, UserRows
from persona_rm.methods.rater_calibration import RaterCalibration, slope
from persona_rm.space import PreferenceSpace
from tests.methods.method_samples import ask, letter_backends, rewards
from tests.methods.test_personal import history, made, tastes


def choices(scale: float, n: int, seed: int) -> UserRows:
    """A user who applies the pooled reward times `scale`."""
    rng = np.random.default_rng(seed)
    margins = rng.normal(size=n)
    wins = rng.random(n) < 1 / (1 + np.exp(-scale * margins))
    return UserRows(np.zeros((n, 1)), np.where(wins, margins, -margins))


def test_the_slope_is_recovered_and_shrunk() -> None:
    many, few = choices(3.0, 3000, 0), choices(3.0, 4, 1)
    assert slope(many.margins, 1.0, 100.0)[0] == pytest.approx(3.0, abs=0.4)
    assert slope(few.margins, 1.0, 1e-4)[0] == pytest.approx(1.0, abs=0.01)
    assert slope(many.margins, 1.0, 100.0)[1] < slope(few.margins, 1.0, 100.0)[1]


def test_the_spread_of_slopes_is_learned_from_held_out_comparisons(space: PreferenceSpace) -> None:
    def learned(scales: list[float]) -> tuple[float, float]:
        method = RaterCalibration(RaterCalibration.Config(), space, letter_backends(space))
        held = [choices(scale, 60, user) for user, scale in enumerate(scales)]
        method.learn(held, [Episode(user, one, one) for user, one in enumerate(held)])
        assert method.slopes is not None
        mean, variance = method.slopes.tolist()
        return mean, variance

    same, different = learned([1.0] * 30), learned([0.0, 4.0] * 15)
    assert same[0] == pytest.approx(1.0, abs=0.3)
    assert same[1] < 0.3 < 1.0 < different[1]


def test_a_positive_scale_keeps_every_order(space: PreferenceSpace) -> None:
    rows = [row for row in tastes(20, 20) if int(row.user_id[1:]) % 2]
    method = made("rater_calibration", space)
    method.fit(rows)
    texts = [f"answer {i} a" for i in range(20)]
    state = method.adapt(history("u1", rows))
    [own], [pooled] = (rewards(method, ask(one, *texts)) for one in (state, method.prior()))
    assert np.argsort(own).tolist() == np.argsort(pooled).tolist()
    assert max(own) - min(own) != pytest.approx(max(pooled) - min(pooled))
