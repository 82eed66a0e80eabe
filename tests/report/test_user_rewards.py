import numpy as np
import pytest

from persona_rm.errors import DataError
from persona_rm.report.user_rewards import rewarded_for


def test_it_finds_what_the_reward_was_made_of_although_dimensions_correlate():
    rng = np.random.default_rng(0)
    levels = rng.integers(1, 4, (400, 6))
    levels[:, 1] = np.where(rng.random(400) < 0.7, levels[:, 0], levels[:, 1])
    found = rewarded_for(levels, 2.0 * (levels[:, 0] - 2) - 1.0 * (levels[:, 3] - 2) + rng.normal(0, 0.3, 400))
    assert found == pytest.approx([1, 0, 0, -0.5, 0, 0], abs=0.06)


def test_equal_rewards_say_nothing():
    assert rewarded_for([[1, 3], [3, 1]], [0.5, 0.5]).tolist() == [0, 0]


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(DataError, match="levels"):
        rewarded_for([[1, 2]], [0.1, 0.2])
