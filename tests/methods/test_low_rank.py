"""A basis is what users really differ in, and its fit is a descent of the stated loss."""

import numpy as np
import pytest

from persona_rm.methods.episodes import UserRows
from persona_rm.methods.low_rank import (
    Adam,
    StackedRows,
    both_ways,
    codes_along,
    joint_fit,
    leading_directions,
    personal_vectors,
)
from persona_rm.methods.pairwise import Floats


def users_along(axis: Floats, n_users: int = 40, n: int = 30, seed: int = 0) -> list[UserRows]:
    """Half of the users prefer texts along the axis, half against it."""
    rng = np.random.default_rng(seed)
    users = []
    for user in range(n_users):
        rows = rng.normal(size=(n, len(axis)))
        sign = 2 * (user % 2) - 1
        wins = rng.random(n) < 1 / (1 + np.exp(-2 * sign * rows @ axis))
        users.append(UserRows(np.where(wins[:, None], rows, -rows), np.zeros(n)))
    return users


def loss(users: list[UserRows], basis: Floats, codes: Floats) -> float:
    margins = [one.margins + one.differences @ basis @ code for one, code in zip(users, codes, strict=True)]
    return float(np.logaddexp(0, -np.concatenate(margins)).mean())


def test_users_own_weights_lie_along_what_they_differ_in() -> None:
    axis = np.array([3.0, -4.0, 0, 0, 0]) / 5
    vectors = personal_vectors(users_along(axis), 1.0)
    [first] = leading_directions(vectors, 1).T
    assert abs(first @ axis) / np.linalg.norm(first) > 0.95
    assert np.linalg.norm(first) ** 2 == pytest.approx(np.linalg.svd(vectors)[1][0] ** 2 / 40)


@pytest.mark.parametrize("simplex", [False, True])
def test_the_joint_fit_descends_and_keeps_even_weights_at_the_pooled_reward(simplex: bool) -> None:
    users = users_along(np.array([1.0, 0, 0, 0]))
    start = leading_directions(personal_vectors(users, 1.0), 2)
    basis = both_ways(start, 4) if simplex else start
    codes = np.zeros((40, 4)) if simplex else codes_along(start, personal_vectors(users, 1.0))
    fitted, learned = joint_fit(users, basis, codes, (1e-4, 1e-4), simplex=simplex)
    before, after = ((np.exp(c) / np.exp(c).sum(1, keepdims=True) if simplex else c) for c in (codes, learned))
    assert loss(users, fitted, after) < loss(users, basis, before)
    if simplex:
        assert fitted.sum(1) == pytest.approx(np.zeros(4), abs=1e-9)
        again, _ = joint_fit(users, basis[:, [1, 0, 3, 2]], codes, (1e-4, 1e-4), simplex=True)
        assert again[:, [1, 0, 3, 2]] == pytest.approx(fitted, abs=1e-9), "the sign of a direction is arbitrary"


def test_sums_by_user_count_users_without_rows() -> None:
    empty = UserRows(np.zeros((0, 2)), np.zeros(0))
    rows = StackedRows.of(
        [UserRows(np.ones((3, 2)), np.ones(3)), empty, UserRows(np.ones((1, 2)), np.ones(1))], most=2
    )
    assert rows.counts.tolist() == [2, 0, 1]
    assert rows.by_user(np.array([[1.0], [2.0], [4.0]])).tolist() == [[3.0], [0.0], [4.0]]


def test_codes_of_a_direction_of_length_zero_are_zero() -> None:
    assert codes_along(np.array([[2.0, 0.0], [0.0, 0.0]]), np.array([[4.0, 5.0]])).tolist() == [[2.0, 0.0]]


def test_adam_reaches_the_minimum() -> None:
    move, at = Adam(0.1), np.array([5.0, -3.0])
    for _ in range(500):
        at = move.moved(at, 2 * (at - 1))
    assert at == pytest.approx([1, 1], abs=0.05)
