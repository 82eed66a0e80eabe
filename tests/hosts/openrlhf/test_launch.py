import json

import pytest

from persona_rm.errors import HostError
from persona_rm.hosts.base import PpoJob, PpoOptions
from persona_rm.hosts.openrlhf import launch
from persona_rm.hosts.openrlhf.filtering import check_policy
from persona_rm.hosts.openrlhf.launch import run_ppo


def make_run(tmp_path, rows):
    log = tmp_path / "reward-0.jsonl"
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PpoJob(1.0, tmp_path / "ppo.log", tmp_path / "tb", (log,))


def sample(i, empty=False):
    return {"time": float(i), "reward": 0.0, "empty": empty}


def test_rollouts_that_turn_empty_are_a_failure_although_the_host_ended_well(tmp_path):
    rows = [sample(i, empty=i >= 8) for i in range(16)]
    with pytest.raises(HostError, match="did the weights reach vLLM"):
        launch._check_rollouts(make_run(tmp_path, rows))
    launch._check_rollouts(make_run(tmp_path, [*rows, sample(17)]))
    with pytest.raises(HostError, match="asked for no reward"):
        launch._check_rollouts(make_run(tmp_path, []))


def test_samples_of_an_interrupted_attempt_are_forgotten_unless_the_host_goes_on(tmp_path):
    kept, failures = tmp_path / "rewards" / "reward-0.jsonl", tmp_path / "failures.jsonl"
    kept.parent.mkdir()
    for resumes in (True, False):
        kept.write_text(json.dumps(sample(1)) + "\n")
        failures.write_text("{}\n")
        launch._clear(tmp_path, resumes=resumes)
        assert kept.is_file() == resumes
        assert not failures.exists()
    launch._clear(tmp_path, resumes=False)


def test_the_host_goes_on_where_it_may_and_has_a_checkpoint(tmp_path):
    args = {"ckpt.load_enable": True, "ckpt.path": str(tmp_path / "ckpt")}
    assert not launch._resumes(args)
    (tmp_path / "ckpt" / "_actor").mkdir(parents=True)
    assert launch._resumes(args)
    assert not launch._resumes(args | {"ckpt.load_enable": False})


def test_another_version_of_the_host_is_refused_before_anything_starts(monkeypatch, tmp_path):
    monkeypatch.setattr("persona_rm.hosts.openrlhf.commands.version", lambda name: "0.9.0")
    with pytest.raises(HostError, match=r"openrlhf 0\.9\.0 is installed"):
        run_ppo({}, tmp_path / "bundle", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ({}, "algo.dynamic_filtering_enable is off"),
        ({"algo.dynamic_filtering_enable": True, "eval.dataset": "e.jsonl"}, "eval.dataset is set"),
    ],
)
def test_a_group_is_only_left_out_where_the_host_can(tmp_path, args, problem):
    with pytest.raises(HostError, match=f"on_failure is skip_group, and {problem}"):
        run_ppo(args, tmp_path / "bundle", tmp_path / "run", PpoOptions(on_failure="skip_group"))
    assert not (tmp_path / "run").exists()
    check_policy("stop", args)
    check_policy("skip_group", {"algo.dynamic_filtering_enable": True})


def test_the_reason_of_a_plugin_comes_before_the_hosts_own_lines(monkeypatch, tmp_path):
    (tmp_path / "failures.jsonl").write_text(json.dumps({"time": 0, "reason": "the model gave NaN"}) + "\n")

    def fail(*_args):
        raise HostError("exit code 1")

    monkeypatch.setattr(launch, "run_trainer", fail)
    with pytest.raises(HostError, match=r"the job was stopped: the model gave NaN\nexit code 1"):
        launch._train({}, {}, tmp_path, echo=False)
