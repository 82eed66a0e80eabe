import math

from persona_rm.serving.sample_metrics import SampleMetrics
from persona_rm.types import RewardRequest, RewardResult, RewardTrace


def sample(metrics, group, reward, *, known=True, response="text", bad=False, dims=None):
    request = RewardRequest("u", "p", response, bad_label=bad)
    return metrics.of(request, RewardResult(reward, RewardTrace(reward, dims or {}, user_known=known, group=group)))


def test_every_sample_has_the_same_keys_and_finite_numbers():
    metrics = SampleMetrics(["a", "b"], ["age"])
    logs = [
        sample(metrics, "a", 1.0, dims={"age": 0.5, "gender": 9.0}),
        sample(metrics, "b", -3.0),
        sample(metrics, "unknown", 0.0, known=False, response=" ", bad=True),
    ]
    assert len({tuple(log) for log in logs}) == 1
    assert all(math.isfinite(value) for log in logs for value in log.values())
    assert "persona_rm/dim/gender" not in logs[0]
    assert logs[0]["persona_rm/dim/age"] == 0.5
    assert logs[1]["persona_rm/dim/age"] == 0.0


def test_cold_bad_and_empty_samples_are_counted():
    log = sample(SampleMetrics(["a"], []), "unknown", 0.0, known=False, response="", bad=True)
    assert (log["persona_rm/cold"], log["persona_rm/bad_label"], log["persona_rm/empty"]) == (1, 1, 1)
    log = sample(SampleMetrics(["a"], []), "a", 0.0)
    assert (log["persona_rm/cold"], log["persona_rm/bad_label"], log["persona_rm/empty"]) == (0, 0, 0)


def test_cut_samples_are_counted():
    result = RewardResult(0.0, RewardTrace(0.0, group="a"))
    logs = [SampleMetrics(["a"], []).of(RewardRequest("u", "p", "x", finished=ends), result) for ends in (True, False)]
    assert [log["persona_rm/cut"] for log in logs] == [0.0, 1.0]


def test_the_running_mean_is_the_groups_own_and_begins_with_that_of_all_samples():
    metrics = SampleMetrics(["a", "b"], [], window=2)
    assert sample(metrics, "a", 4.0)["persona_rm/reward/b"] == 4.0
    assert sample(metrics, "b", 1.0)["persona_rm/reward/b"] == 1.0
    for reward in (5.0, 7.0):
        log = sample(metrics, "a", reward)
    assert log["persona_rm/reward/a"] == 6.0
    assert log["persona_rm/reward/b"] == 1.0
