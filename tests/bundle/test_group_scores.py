import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_rm.bundle.group_scores import NORMALISE, centred, ranked, standardised, win_rates
from persona_rm.errors import ScoreError

CALM = settings(deadline=None, max_examples=50, database=None)
REWARDS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=12)


def test_normalisers_by_hand():
    assert centred([1, 2, 6]) == [-2, -1, 3]
    assert standardised([1.0, 3.0]) == [-1, 1]
    assert standardised([0.1, 0.1, 0.1]) == [0, 0, 0]
    assert ranked([3, 1, 1, 7]) == [pytest.approx(1 / 3), pytest.approx(-2 / 3), pytest.approx(-2 / 3), 1]
    assert ranked([5]) == [0]
    assert all(normalise([]) == [] for normalise in NORMALISE.values())


@CALM
@given(rewards=REWARDS, data=st.data())
@pytest.mark.parametrize("normalise", [centred, standardised, ranked])
def test_normalisers_sum_to_nothing_and_do_not_care_about_the_order(normalise, rewards, data):
    out = normalise(rewards)
    assert sum(out) == pytest.approx(0, abs=1e-5 * max(map(abs, (1, *out))))
    order = data.draw(st.permutations(range(len(rewards))))
    assert normalise([rewards[i] for i in order]) == [out[i] for i in order]
    assert all(out[i] <= out[j] for i in range(len(out)) for j in range(len(out)) if rewards[i] < rewards[j])


@CALM
@given(rewards=st.lists(st.integers(-1000, 1000), min_size=2, max_size=12))
def test_standardised_is_numpys(rewards):
    if np.std(rewards) > 0:
        assert standardised(rewards) == pytest.approx((np.array(rewards) - np.mean(rewards)) / np.std(rewards))
    else:
        assert standardised(rewards) == [0] * len(rewards)


@pytest.mark.parametrize("normalise", [centred, standardised, ranked])
@pytest.mark.parametrize("bad", [math.nan, math.inf, 1e308])
def test_a_normaliser_names_the_reward_that_is_no_number(normalise, bad):
    with pytest.raises(ScoreError) as caught:
        normalise([0.0, bad])
    assert caught.value.rows == (1,)


def test_win_rates_of_a_cycle_are_equal_and_of_an_order_are_ordered():
    cycle = [[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]]
    assert win_rates(cycle) == pytest.approx([0.5, 0.5, 0.5])
    assert win_rates([[0.5, 0.8, 0.9], [0.2, 0.5, 0.7], [0.1, 0.3, 0.5]]) == pytest.approx([0.85, 0.45, 0.2])
    assert win_rates([[0.5]]) == [0.5]


@CALM
@given(st.integers(2, 8).flatmap(lambda n: st.lists(st.floats(0, 1), min_size=n * n, max_size=n * n)))
def test_win_rates_are_one_half_in_the_mean(values):
    n = math.isqrt(len(values))
    p = np.array(values).reshape(n, n)
    p = np.triu(p, 1) + np.tril(1 - p.T, -1) + 0.5 * np.eye(n)
    rates = win_rates(p.tolist())
    assert np.mean(rates) == pytest.approx(0.5)
    assert rates == pytest.approx((p.sum(1) - 0.5) / (n - 1))


@pytest.mark.parametrize(
    "matrix", [[[0.5, 0.9], [0.9, 0.5]], [[0.5, math.nan], [0.5, 0.5]], [[0.5, 2.0], [-1.0, 0.5]], [[0.5, 0.5]]]
)
def test_what_is_no_comparison_is_refused(matrix):
    with pytest.raises(ScoreError):
        win_rates(matrix)
