import math
from dataclasses import replace

import pytest

from persona_rm.errors import ScoreError
from persona_rm.serving.failures import SkipGroup
from persona_rm.types import RewardRequest, RewardResult, RewardTrace
from tests.serving.test_client import REQUEST, Fake, client


class Rows(Fake):
    """Rewards each response by its length; "bad" rows fail in the method, "nan" rows have no finite reward."""

    def call(self, name, method, args, timeout):
        super().call(name, method, args, timeout)
        (requests,) = args
        if bad := tuple(i for i, request in enumerate(requests) if request.response == "bad"):
            raise ScoreError("no such token", bad, "no_token")
        values = [math.nan if request.response == "nan" else float(len(request.response)) for request in requests]
        return [RewardResult(value, RewardTrace(value)) for value in values]


def batch(*responses):
    return [RewardRequest(f"u{i}", "p", response) for i, response in enumerate(responses)]


def test_a_batch_comes_back_in_its_order_with_one_call_per_actor():
    fake = Rows()
    results = client(fake).rewards(batch(*("x" * i for i in range(1, 21))))
    assert [result.reward for result in results] == list(range(1, 21))
    assert sorted(name for name, _, _ in fake.calls) == ["reward-0", "reward-1"]
    assert client(fake).rewards([]) == []


@pytest.mark.parametrize(("response", "kind"), [("bad", "no_token"), ("nan", "not_finite")])
def test_a_batch_names_the_rows_that_failed_and_counts_them_once(response, kind):
    one = client(Rows(), on_failure="skip_group")
    with pytest.raises(SkipGroup) as caught:
        one.rewards(batch("x", "x", "x", response, "x", "x"))
    assert (caught.value.rows, caught.value.kind) == ((3,), kind)
    assert one.failures.total == 1


def test_the_client_makes_an_id_where_the_host_gives_none_and_it_holds_no_text():
    fake, requests = Fake(), [RewardRequest("u", "a prompt", "a response")] * 50
    results = client(fake).rewards(requests)
    ids = {result.trace.request_id for result in results}
    assert len(ids) == 50
    assert all(len(one) == 32 and int(one, 16) >= 0 for one in ids)
    named = replace(REQUEST, request_id="mine")
    assert client(fake).reward(named).trace.request_id == "mine"
