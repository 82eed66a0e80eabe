"""Hard users weigh more, and the outer gradient leads down."""

import numpy as np
import pytest

from persona_rm.methods.low_rank import StackedRows, softmax_rows
from persona_rm.methods.mrm import MRM, MRMConfig, along_softmax, hard_user_weights
from persona_rm.space import PreferenceSpace
from tests.methods.method_samples import letter_backends
from tests.methods.test_low_rank import users_along


def test_weights_of_hard_users_are_the_derivative_of_the_outer_loss() -> None:
    losses, tail, gamma = np.array([0.3, 0.5, 0.7, 1.1, 0.2]), 0.4, 0.1
    tau = np.quantile(losses, 1 - tail)

    def outer(values: np.ndarray) -> float:
        return float((values / (1 + np.exp(-(values - tau) / gamma))).mean())

    numeric = [(outer(losses + step) - outer(losses - step)) / 2e-6 for step in np.eye(5) * 1e-6]
    weights = hard_user_weights(losses, tail, gamma)
    assert weights == pytest.approx(numeric, abs=1e-6)
    assert weights[3] > weights[4]


def test_the_gradient_along_a_softmax() -> None:
    logits, by_weight = np.array([[0.2, -0.4, 1.0]]), np.array([[1.0, 2.0, -1.0]])

    def value(at: np.ndarray) -> float:
        return float((softmax_rows(at) * by_weight).sum())

    numeric = [(value(logits + step) - value(logits - step)) / 2e-6 for step in np.eye(3) * 1e-6]
    assert along_softmax(softmax_rows(logits), by_weight)[0] == pytest.approx(numeric, abs=1e-6)


def test_no_step_is_the_pooled_reward_and_steps_lower_the_users_loss(space: PreferenceSpace) -> None:
    method = MRM(MRMConfig(hidden=4, outer_steps=20), space, letter_backends(space))
    users = users_along(np.array([1.0, 0, 0, 0]))
    method.learn_population(users)
    assert method.basis is not None
    assert method.origin is not None
    one = StackedRows.of(users[:1])
    for rate in (3.0, 10.0):
        added = users[0].differences @ method.direction(users[0], rate)
        assert np.logaddexp(0, -added).mean() < np.log(2)
    start = method.origin[None]
    assert method._inner(one, users[0].differences @ method.basis, start, 0.0).tolist() == start.tolist()
