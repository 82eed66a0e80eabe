"""A user gets the weights of similar users, and nothing from dissimilar ones."""

import numpy as np
import pytest

from persona_rm.methods.episodes import UserRows
from persona_rm.methods.knn_users import KnnUsers
from persona_rm.space import PreferenceSpace
from tests.methods.method_samples import letter_backends

OTHERS = np.array([[1.0, 0.0], [3.0, 4.0], [-1.0, 0.0], [0.0, 0.0]])


@pytest.fixture
def method(space: PreferenceSpace) -> KnnUsers:
    one = KnnUsers(KnnUsers.Config(), space, letter_backends(space))
    one.others, one.strength = OTHERS, np.array([2.0, 5.0])
    return one


def test_neighbours_count_by_their_cosine(method: KnnUsers) -> None:
    rows = UserRows(np.array([[1.0, 0.0]]), np.zeros(1))
    expected = (1.0 * OTHERS[0] + 0.6 * OTHERS[1]) / 1.6
    assert method.user_vector(rows) == pytest.approx(2 * expected)
    assert method.direction(rows, 1) == pytest.approx(OTHERS[0])


def test_a_user_without_similar_users_keeps_the_pooled_reward(method: KnnUsers) -> None:
    assert method.direction(UserRows(np.array([[0.0, -1.0]]), np.zeros(1)), 5).tolist() == [0.0, 0.0]
    assert method.direction(UserRows(np.zeros((1, 2)), np.zeros(1)), 5).tolist() == [0.0, 0.0]


def test_users_without_evidence_are_no_neighbours(method: KnnUsers) -> None:
    some, none = UserRows(np.ones((2, 2)), np.zeros(2)), UserRows(np.zeros((0, 2)), np.zeros(0))
    method.learn_population([some, none, some])
    assert method.others is not None
    assert method.others.shape == (2, 2)
