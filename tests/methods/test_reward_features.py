"""A user's weights on shared features, the pooled reward among them."""

import numpy as np
import pytest

from persona_rm.methods.episodes import UserRows
from persona_rm.methods.reward_features import RewardFeatures, RewardFeaturesConfig, with_pooled
from persona_rm.space import PreferenceSpace
from tests.methods.method_samples import letter_backends


def both_kinds(n_users: int = 30, n: int = 30) -> list[UserRows]:
    """Half of the users follow the pooled reward, half choose against it; the features say nothing."""
    rng = np.random.default_rng(0)
    users = []
    for user in range(n_users):
        margins, sign = rng.normal(size=n), 2 * (user % 2) - 1
        wins = rng.random(n) < 1 / (1 + np.exp(-3 * sign * margins))
        users.append(UserRows(0.1 * rng.normal(size=(n, 3)), np.where(wins, margins, -margins)))
    return users


def test_a_user_may_choose_against_the_population(space: PreferenceSpace) -> None:
    method = RewardFeatures(RewardFeaturesConfig(dimensions=2), space, letter_backends(space))
    users = both_kinds()
    method.learn_population(users)
    against, along = (method.direction(users[i].at(slice(0, 16)), 3.0)[-1] for i in (0, 1))
    assert against < -1 < along
    vector = np.array([0.0, 0.0, 0.0, -2.0])
    assert method.added(vector, np.ones((2, 3)), np.array([1.0, -3.0])).tolist() == [-2.0, 6.0]
    assert method.margin(vector, users[0]) == pytest.approx(-users[0].margins)


def test_the_pooled_margin_is_one_more_column() -> None:
    rows = with_pooled(UserRows(np.ones((2, 3)), np.array([5.0, 6.0])))
    assert rows.differences.tolist() == [[1, 1, 1, 5], [1, 1, 1, 6]]
