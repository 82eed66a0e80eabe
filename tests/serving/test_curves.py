import math

import pytest

from persona_rm.serving.curves import Curves, group_curves, read_scalars
from persona_rm.types import RewardRequest, RewardResult, RewardTrace


def sample(curves, group, reward, *, known=True, response="text", bad=False, dims=None):
    request = RewardRequest("u", "p", response, bad_label=bad)
    return curves.logs(request, RewardResult(reward, RewardTrace(reward, dims or {}, user_known=known, group=group)))


def test_every_sample_has_the_same_keys_and_finite_numbers():
    curves = Curves(["a", "b"], ["age"])
    logs = [
        sample(curves, "a", 1.0, dims={"age": 0.5, "gender": 9.0}),
        sample(curves, "b", -3.0),
        sample(curves, "unknown", 0.0, known=False, response=" ", bad=True),
    ]
    assert len({tuple(log) for log in logs}) == 1
    assert all(math.isfinite(value) for log in logs for value in log.values())
    assert "persona_rm/dim/gender" not in logs[0]
    assert logs[0]["persona_rm/dim/age"] == 0.5
    assert logs[1]["persona_rm/dim/age"] == 0.0


def test_cold_bad_and_empty_samples_are_counted():
    log = sample(Curves(["a"], []), "unknown", 0.0, known=False, response="", bad=True)
    assert (log["persona_rm/cold"], log["persona_rm/bad_label"], log["persona_rm/empty"]) == (1, 1, 1)
    log = sample(Curves(["a"], []), "a", 0.0)
    assert (log["persona_rm/cold"], log["persona_rm/bad_label"], log["persona_rm/empty"]) == (0, 0, 0)


def test_the_hosts_plain_mean_gives_back_the_exact_mean_of_each_group():
    curves = Curves(["a", "b"], [])
    logs = [sample(curves, "a", 1.0), sample(curves, "a", 3.0), sample(curves, "b", 10.0)]
    mean = {key: sum(log[key] for log in logs) / len(logs) for key in logs[0]}
    tags = {f"train/{key}": [(1, value)] for key, value in mean.items()}
    found = group_curves(tags)
    assert found.keys() == {"a", "b"}
    assert found["a"] == [(1, pytest.approx(2.0))]
    assert found["b"] == [(1, pytest.approx(10.0))]


def test_the_running_curve_is_the_groups_own_and_begins_with_everybodys():
    curves = Curves(["a", "b"], [], window=2)
    assert sample(curves, "a", 4.0)["persona_rm/reward/b"] == 4.0
    assert sample(curves, "b", 1.0)["persona_rm/reward/b"] == 1.0
    for reward in (5.0, 7.0):
        log = sample(curves, "a", reward)
    assert log["persona_rm/reward/a"] == 6.0
    assert log["persona_rm/reward/b"] == 1.0


def test_steps_without_a_group_leave_a_gap():
    tags = {"train/persona_rm/sum/a": [(1, 0.0), (2, 1.0)], "train/persona_rm/share/a": [(1, 0.0), (2, 0.5)]}
    assert group_curves(tags) == {"a": [(2, 2.0)]}


def test_scalars_are_read_from_every_run_below_the_folder(tmp_path):
    from torch.utils.tensorboard import SummaryWriter

    for part, step in (("first", 1), ("second", 2)):
        with SummaryWriter(str(tmp_path / part)) as writer:
            writer.add_scalar("train/x", step / 2, step)
    assert read_scalars(tmp_path) == {"train/x": [(1, 0.5), (2, 1.0)]}
