"""`on_failure: skip_group`: what is refused, what the plugins give, and what OpenRLHF's own rollout does with it."""

import json
import math
import os
import time
from types import SimpleNamespace

import pytest

from persona_rm.errors import HostError, RecipeError, ScoreError
from persona_rm.hosts.base import PpoJob
from persona_rm.hosts.openrlhf import launch
from persona_rm.hosts.openrlhf.filtering import check_policy
from persona_rm.io.log_ids import HASHED
from persona_rm.recipe import load_recipe
from persona_rm.serving.client import RewardClient
from persona_rm.serving.failures import ALLOWED, SKIPPED, WINDOW, Failures, SkipGroup
from tests.plugins.openrlhf.by_path import Actors, connect, load

REASON = "a response too long for the model"
FILTERED = {"algo.dynamic_filtering_enable": True}
SKIPPED_LOG = "persona_rm/skipped"


class Stopped(BaseException):
    """In place of the end of the process."""


class Picky(Actors):
    """Has no `method` ("score_batch" or "profile") for bob."""

    method = "score_batch"

    def call(self, name, method, args, timeout):
        asked = [request.user for request in args[0]] if method == "score_batch" else args[:1]
        if method == self.method and "bob" in asked:
            raise ScoreError(REASON)
        return super().call(name, method, args, timeout)


@pytest.fixture
def picky(monkeypatch, tmp_path):
    connect(monkeypatch, tmp_path)
    actors = Picky(str(tmp_path))

    def from_env(cls):
        return RewardClient(actors, deadline=0.05, wait=lambda _: time.sleep(0.01), on_failure="skip_group")

    monkeypatch.setattr(RewardClient, "from_env", classmethod(from_env))
    monkeypatch.setattr(os, "_exit", lambda code: (_ for _ in ()).throw(Stopped(code)))
    return actors


def skipped_in(folder):
    return [json.loads(line) for line in (folder / SKIPPED).read_text().splitlines()]


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ({}, "dynamic_filtering_enable is off.*Set it to true, or on_failure to"),
        ({"algo.dynamic_filtering_enable": False}, "dynamic_filtering_enable is off"),
        ({**FILTERED, "eval.dataset": "e.jsonl"}, "eval.dataset is set: .*Remove it, or on_failure to"),
        *(
            ({**FILTERED, "algo.dynamic_filtering_range": bounds}, "scores lie between 0 and 1. Set it to two numbers")
            for bounds in ([1, 2], [-2, 0], [0.9, 0.1], [0.5, 0.5], [math.nan, 1], [0, math.nan], "0 1", [0], None)
        ),
    ],
)
def test_a_job_that_could_not_leave_out_a_group_is_refused(tmp_path, args, problem):
    with pytest.raises(HostError, match=f"on_failure is skip_group, and .*{problem}"):
        check_policy("skip_group", args)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        json.dumps({"name": "r", "ppo": {"mine": {"reward": "contrast", "on_failure": "skip_group", "args": args}}})
    )
    with pytest.raises(RecipeError, match=f"ppo.mine: on_failure is skip_group, and .*{problem}"):
        load_recipe(recipe)
    assert load_recipe(recipe, ["ppo.mine.on_failure=stop"]).ppo["mine"].on_failure == "stop"


def test_a_job_that_can_leave_out_a_group_is_not_refused(tmp_path):
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        json.dumps(
            {"name": "r", "ppo": {"mine": {"reward": "contrast", "on_failure": "skip_group", "args": FILTERED}}}
        )
    )
    assert load_recipe(recipe).ppo["mine"].on_failure == "skip_group"
    for bounds in ([0, 1], (0.1, 0.9), [-math.inf, math.inf]):
        check_policy("skip_group", {**FILTERED, "algo.dynamic_filtering_range": bounds})


def test_reward_func_gives_no_number_and_says_so(picky, tmp_path, caplog):
    plugin = load("reward")
    found = [plugin.reward_func(["ab"], ["a"], [user])["scores"] for user in ("ann", "bob", "bob")]
    assert found[0] == pytest.approx(1 / (1 + math.exp(-0.1)))
    assert all(map(math.isnan, found[1:]))
    assert plugin.reward_func(["ab"], ["a"], ["bob"])["rewards"] is None
    assert plugin.reward_func(["ab"], ["a"], ["ann"])["extra_logs"][SKIPPED_LOG] > 0
    assert [(row["user"], row["reason"], row["total"]) for row in skipped_in(tmp_path)] == [
        (plugin.FAILURES.log_ids.of("bob"), REASON, i) for i in (1, 2, 3)
    ]
    assert f"sample left out, 3 in this process: {REASON}" in caplog.text
    assert not (tmp_path / "failures.jsonl").exists()


def test_what_is_left_out_cannot_be_left_out_in_silence(picky, tmp_path, monkeypatch):
    monkeypatch.setenv("PERSONA_RM_RUN", str(tmp_path / "missing"))
    with pytest.raises(Stopped):
        load("reward").reward_func(["ab"], ["a"], ["bob"])


def test_an_error_that_nobody_thought_of_stops_too(picky, tmp_path):
    plugin = load("reward")
    plugin.CLIENT = None
    with pytest.raises(Stopped):
        plugin.reward_func(["ab"], ["a"], ["ann"])
    assert "AttributeError in the plugin" in (tmp_path / "failures.jsonl").read_text()


def test_too_many_stop_the_job_in_spite_of_the_policy(picky, tmp_path):
    plugin = load("reward")
    for i in range(ALLOWED):
        assert plugin.reward_func([f"{i}b"], [str(i)], ["bob"])["rewards"] is None
    with pytest.raises(Stopped):
        plugin.reward_func(["xb"], ["x"], ["bob"])
    assert "11 of the last 11 rewards failed" in (tmp_path / "failures.jsonl").read_text()
    assert len(skipped_in(tmp_path)) == ALLOWED


def test_the_samples_of_one_prompt_are_one_failure():
    failures, error = Failures("skip_group"), ScoreError("NaN")
    for prompt in range(ALLOWED):
        for sample in range(16):
            failures.passed(("ann", prompt)) if sample == 3 else None
            assert isinstance(failures.failed(error, ("bob", prompt)), SkipGroup)
            failures.passed(("bob", prompt))
    assert failures.logs() == {SKIPPED_LOG: 0.5}
    assert not isinstance(failures.failed(error, ("bob", "another")), SkipGroup)
    for prompt in range(WINDOW):
        failures.passed(("cat", prompt))
    assert failures.logs() == {SKIPPED_LOG: 0.0}
    assert Failures("stop").logs() == {}


def test_a_run_in_which_everything_was_left_out_has_failed(tmp_path):
    (tmp_path / SKIPPED).write_text(json.dumps({"user": "bob", "reason": REASON}) + "\n")
    run = PpoJob(1.0, tmp_path / "ppo.log", tmp_path / "tb", ())
    run.log.write_text("Filtered out: avg_reward=nan\n")
    with pytest.raises(HostError, match=f"trained on nothing: 1 samples had no reward.*{REASON}"):
        launch._check_skipped(run)
    run.log.write_text("Global step 1: {}\n")
    launch._check_skipped(run)
    launch._clear(tmp_path, resumes=True)
    assert run.skipped()
    launch._clear(tmp_path, resumes=False)
    assert run.skipped() == []


@pytest.fixture
def host(monkeypatch):
    """The host's sample generator, whose Ray calls are made at once and in this process."""
    pytest.importorskip("openrlhf.trainer.ray.vllm_engine", reason="the host is not installed", exc_type=ImportError)
    from tests.plugins.openrlhf.payloads.host_learner import learner

    with learner() as found:
        from openrlhf.trainer.ppo_utils import samples_generator

        monkeypatch.setattr(
            samples_generator, "ray",
            SimpleNamespace(get=lambda ref: ref, wait=lambda refs, **_: (refs[:1], refs[1:])),
        )  # fmt: skip
        yield found


def samples_of_the_host(host, door, labels, *, filtering=True):
    """Batches until the prompts are exhausted, one prompt for each label."""
    from tests.plugins.openrlhf.payloads.host_learner import job
    from tests.plugins.openrlhf.payloads.host_samples import TOKENIZER, answering, generate, rollout

    actor = rollout(answering(f" Answer {i}." for i in range(1000)), door)

    def responses(prompt, label, num_samples, sampling_params, max_length, **_):
        limits = {"sampling_params": sampling_params, "max_length": max_length}
        return generate(actor, [(prompt, label)], samples=num_samples, **limits)

    engine = SimpleNamespace(
        get_num_unfinished_requests=SimpleNamespace(remote=lambda: 0),
        generate_responses=SimpleNamespace(remote=responses),
    )
    args = job(samples=2, batch_size=4)
    args.algo.dynamic_filtering_enable, args.algo.dynamic_filtering_range = filtering, (0, 1)
    rows = [(None, [f"Is it {i}?"], [label], [None]) for i, label in enumerate(labels)]
    made = host.generator(SimpleNamespace(args=args), rows, None, TOKENIZER, [engine])
    exhausted, batches = False, []
    while not exhausted:
        batch, _, _, exhausted = made.generate_samples(max_new_tokens=16, max_len=512)
        batches.append(batch)
    return batches


@pytest.mark.parametrize(("door", "method"), [("func", "score_batch"), ("agent", "score_batch"), ("agent", "profile")])
def test_the_host_trains_on_everybody_but_him(picky, tmp_path, host, door, method):
    from tests.plugins.openrlhf.payloads.host_learner import advantages

    picky.method = method
    labels = ["ann", "bob", "cat", "ann", "bob", "ann", "cat", "bob", "ann"]
    batches = samples_of_the_host(host, door, labels)
    samples = [one for batch in batches for one in batch]
    assert sorted(one.labels[0] for one in samples) == sorted([*["ann"] * 4, *["cat"] * 2] * 2)
    assert [len(batch) for batch in batches] == [8, 4]
    assert {one.prompts[0] for one in samples} == {f"Is it {i}?" for i, name in enumerate(labels) if name != "bob"}
    for one in samples:
        values = [one.rewards, one.scores, *one.info.values()]
        assert all(value.float().isfinite().all() for value in values)
    for batch in batches:
        assert all(part.returns.isfinite().all() for part in advantages(host, batch, "rloo"))
    left_out = [row["user"] for row in skipped_in(tmp_path)]
    assert len(left_out) == 6
    assert all(map(HASHED.fullmatch, left_out))
    assert {SKIPPED_LOG} <= samples[-1].info.keys()


@pytest.mark.parametrize("door", ["func", "agent"])
def test_where_every_group_is_left_out_the_host_has_nothing_and_ends(picky, host, door):
    assert samples_of_the_host(host, door, ["bob"] * 5) == [[]]


@pytest.mark.parametrize("door", ["func", "agent"])
@pytest.mark.parametrize("place", range(4))
def test_without_filtering_the_host_breaks_off_and_trains_on_nothing(picky, host, door, place):
    """Whichever place the missing reward has in which batch of the host."""
    from tests.plugins.openrlhf.payloads.host_learner import advantages

    labels = ["ann"] * 4
    labels[place] = "bob"
    (batch, *_) = samples_of_the_host(host, door, labels, filtering=False)
    assert len(batch) == 8
    with pytest.raises((AttributeError, TypeError)):
        advantages(host, batch, "rloo")
