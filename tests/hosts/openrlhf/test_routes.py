import pytest

from persona_rm.hosts.openrlhf.routes import GET_REWARD, RewardsOut, rewards_out
from persona_rm.maths import sigmoid
from persona_rm.serving.http.application import make_app
from persona_rm.serving.http.http_errors import RequestError
from persona_rm.types import RewardResult, RewardTrace
from tests.serving.http.http_service_samples import HOST, Api


def test_openrlhfs_payload_gets_one_number_per_row_in_every_list():
    found = Api().post("/get_reward", HOST)
    assert found.status_code == 200
    assert found.json() == {"rewards": [0.5], "scores": [sigmoid(0.5)], "extra_logs": {"persona_rm/cold": [0.0]}}


def test_empty_lists_are_accepted():
    found = Api().post("/get_reward", {"query": [], "prompts": [], "labels": []})
    assert (found.status_code, found.json()) == (200, {"rewards": [], "scores": [], "extra_logs": {}})


def test_rows_keep_their_order_and_labels_say_who_they_are_for():
    api = Api()
    labels = ["ann", {"user": "bob", "prompt": "bare"}, 7.5, '{"user": "ann"}', None]
    body = {"query": [f"Q{'x' * i}" for i in range(5)], "prompts": ["Q"] * 5, "labels": labels, "images": None}
    assert api.post("/get_reward", body).json()["rewards"] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])
    asks = [(ask.user, ask.prompt, ask.bad_label) for ask in api.actor.requests]
    assert asks == [
        ("ann", "Q", False),
        ("bob", "bare", False),
        (None, "Q", True),
        ("ann", "Q", False),
        (None, "Q", False),
    ]


def test_half_a_surrogate_pair_is_a_bad_label():
    api = Api()
    content = b'{"query": ["Q a"], "prompts": ["Q"], "labels": [{"user": "\\ud800"}]}'
    found = api.call("POST", "/get_reward", {"content-type": "application/json"}, content=content)
    assert found.status_code == 200
    assert [(ask.user, ask.bad_label) for ask in api.actor.requests] == [(None, True)]


def test_every_row_has_the_sums_and_shares_of_every_group():
    metrics = {"persona_rm/cold": 0.0, "persona_rm/reward/a": 1.0, "persona_rm/reward/b": 2.0}
    results = [RewardResult(3.0, RewardTrace(3.0, group=group, metrics=metrics)) for group in "ab"]
    assert rewards_out(results) == RewardsOut(
        rewards=[3.0, 3.0],
        scores=[sigmoid(3.0)] * 2,
        extra_logs={
            "persona_rm/cold": [0.0, 0.0],
            "persona_rm/sum/a": [3.0, 0.0],
            "persona_rm/share/a": [1.0, 0.0],
            "persona_rm/reward/a": [1.0, 1.0],
            "persona_rm/sum/b": [0.0, 3.0],
            "persona_rm/share/b": [0.0, 1.0],
            "persona_rm/reward/b": [2.0, 2.0],
        },
    )


def test_rows_with_different_logs_are_refused():
    results = [RewardResult(0.0, RewardTrace(0.0, metrics={key: 0.0})) for key in ("x", "y")]
    with pytest.raises(RequestError, match="the rows of this call have different logs"):
        rewards_out(results)


def test_the_route_is_there_only_if_the_host_brings_it():
    api = Api()
    assert api.post("/get_reward", GET_REWARD.example("ann")).json()["rewards"] == [0.5]
    api.app = make_app(api.service, api.settings)
    refused = api.post("/get_reward", HOST)
    assert (refused.status_code, refused.json()["kind"]) == (404, "not_found")
    assert "/get_reward" not in refused.json()["error"]
    assert "/score" in refused.json()["error"]
