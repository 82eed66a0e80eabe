"""The arithmetic of costs."""

import pytest

from persona_rm.annotators.cost import Cost, estimate
from persona_rm.errors import DataError

SAMPLE = [Cost(3_000, 1_000, 200, 2.0), Cost(1_000, 0, 200, 1.0)]


def test_costs_add_up():
    total = sum(SAMPLE, Cost())
    assert total == Cost(4_000, 1_000, 400, 3.0)
    assert total.computed_tokens == 3_400


def test_money_of_an_api():
    found = estimate(SAMPLE, 4, 4_000_000, price_in=2.0, price_out=10.0)
    assert found["comments"] == 4e6
    assert (found["prompt_tokens"], found["cached_tokens"], found["output_tokens"]) == (4e9, 1e9, 4e8)
    assert found["money_tokens"] == pytest.approx(4e9 / 1e6 * 2 + 4e8 / 1e6 * 10)
    assert found["money_tokens_per_million"] == pytest.approx(found["money_tokens"] / 4)
    cheaper = estimate(SAMPLE, 4, 4_000_000, price_in=2.0, price_out=10.0, price_cached=0.2)
    assert found["money_tokens"] - cheaper["money_tokens"] == pytest.approx(1e9 / 1e6 * 1.8)


def test_hours_of_a_machine_at_its_speed_or_as_measured():
    fast = estimate(SAMPLE, 4, 4_000_000, gpu_hour_price=3.0, tokens_per_second=10_000.0)
    assert fast["hours"] == pytest.approx(3_400 * 1e6 / 10_000 / 3600)
    assert fast["money_hours"] == pytest.approx(3 * fast["hours"])
    measured = estimate(SAMPLE, 4, 4_000_000)
    assert measured["hours"] == pytest.approx(3.0 * 1e6 / 3600)
    assert measured["money_hours"] == measured["money_tokens"] == 0.0


@pytest.mark.parametrize(("n", "total", "speed"), [(0, 5, None), (1, -1, None), (1, 5, 0.0)])
def test_what_cannot_be_extrapolated_is_refused(n, total, speed):
    with pytest.raises(DataError):
        estimate(SAMPLE, n, total, tokens_per_second=speed)


def test_nothing_costs_nothing():
    assert set(estimate(SAMPLE, 4, 0, price_in=1.0).values()) == {0.0}
