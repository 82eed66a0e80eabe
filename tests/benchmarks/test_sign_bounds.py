import numpy as np
import pytest

from persona_rm.benchmarks.sign_bounds import ChangedOrders, binomial_lower, binomial_upper


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [(0, 81, 0.0, 0.04453), (1, 81, 0.000313, 0.06688), (4, 10, 0.12155, 0.73762), (10, 10, 0.69150, 1.0)],
)
def test_exact_intervals_of_shares(k: int, n: int, low: float, high: float) -> None:
    """Values of the tables of Clopper and Pearson."""
    assert binomial_upper(k, n) == pytest.approx(high, abs=2e-5)
    assert binomial_lower(k, n) == pytest.approx(low, abs=2e-5)


def test_many_cases_are_close_to_the_exact_bound() -> None:
    assert binomial_upper(5001, 20_000) == pytest.approx(binomial_upper(5000, 20_000), abs=2e-4)


def test_without_a_change_the_bounds_are_those_of_a_change_that_was_not_seen() -> None:
    none = ChangedOrders.of(np.zeros(81))
    assert (none.won, none.lost, none.n, none.changed) == (0, 0, 81, 0)
    assert none.high() == pytest.approx(binomial_upper(0, 81))
    assert none.low() == -none.high()


def test_bounds_enclose_the_difference_and_shrink_with_more_cases() -> None:
    few, many = ChangedOrders(3, 5, 100), ChangedOrders(300, 500, 10_000)
    for orders in (few, many):
        assert orders.low() < -0.02 < orders.high()
    assert few.high() > 0 > many.high()
    assert ChangedOrders(5, 3, 100).high() == pytest.approx(-few.low())


def test_so_many_more_comparisons_would_tell() -> None:
    orders = ChangedOrders(0, 1, 81)
    more = orders.more_for(0.02)
    assert 80 < more < 1000
    assert ChangedOrders(0, round((81 + more) / 81), 81 + more).high() < 0.02
    assert ChangedOrders(0, 0, 100_000).more_for(0.02) == 0
