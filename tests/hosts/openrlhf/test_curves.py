import math

import pytest

from persona_rm.hosts.openrlhf.curves import extra_logs, group_curves, read_scalars
from persona_rm.serving.sample_metrics import SampleMetrics
from persona_rm.types import RewardRequest, RewardResult, RewardTrace


def logs_of(groups, rewards):
    """The `extra_logs` of samples, given as pairs of group and reward."""
    metrics, out = SampleMetrics(groups, ["age"]), []
    for group, reward in rewards:
        trace = RewardTrace(reward, user_known=True, group=group)
        numbers = metrics.of(RewardRequest("u", "p", "text"), RewardResult(reward, trace))
        out.append(extra_logs(RewardResult(reward, RewardTrace(reward, group=group, metrics=numbers))))
    return out


def test_a_sample_counts_for_its_own_group_and_the_metrics_stay():
    first, second = logs_of(["a", "b"], [("a", 2.0), ("unknown", -1.0)])
    assert [first[f"persona_rm/sum/{group}"] for group in ("a", "b", "unknown")] == [2.0, 0.0, 0.0]
    assert [first[f"persona_rm/share/{group}"] for group in ("a", "b", "unknown")] == [1.0, 0.0, 0.0]
    assert [second[f"persona_rm/sum/{group}"] for group in ("a", "b", "unknown")] == [0.0, 0.0, -1.0]
    assert first.keys() == second.keys()
    assert {"persona_rm/cold", "persona_rm/empty", "persona_rm/dim/age", "persona_rm/reward/a"} < first.keys()
    assert all(math.isfinite(value) for log in (first, second) for value in log.values())


def test_metrics_without_groups_are_handed_on_as_they_are():
    trace = RewardTrace(1.0, group="a", metrics={"persona_rm/cold": 0.0})
    assert extra_logs(RewardResult(1.0, trace)) == {"persona_rm/cold": 0.0}


def test_the_hosts_plain_mean_gives_back_the_exact_mean_of_each_group():
    logs = logs_of(["a", "b"], [("a", 1.0), ("a", 3.0), ("b", 10.0)])
    mean = {key: sum(log[key] for log in logs) / len(logs) for key in logs[0]}
    tags = {f"train/{key}": [(1, value)] for key, value in mean.items()}
    curves = group_curves(tags)
    assert curves.keys() == {"a", "b"}
    assert curves["a"] == [(1, pytest.approx(2.0))]
    assert curves["b"] == [(1, pytest.approx(10.0))]


def test_steps_without_a_group_leave_a_gap():
    tags = {"train/persona_rm/sum/a": [(1, 0.0), (2, 1.0)], "train/persona_rm/share/a": [(1, 0.0), (2, 0.5)]}
    assert group_curves(tags) == {"a": [(2, 2.0)]}


def test_scalars_are_read_from_every_run_below_the_folder(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    for part, step in (("first", 1), ("second", 2)):
        with SummaryWriter(str(tmp_path / part)) as writer:
            writer.add_scalar("train/x", step / 2, step)
    assert read_scalars(tmp_path) == {"train/x": [(1, 0.5), (2, 1.0)]}
