"""The real thing: unmodified OpenRLHF, Ray, vLLM and DeepSpeed on a tiny random model. About 10 minutes on 2 cores."""

import json
import math
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from persona_rm.bundle import User, load_bundle, write_bundle
from persona_rm.errors import HostError
from persona_rm.hosts.base import PpoJob, PpoOptions
from persona_rm.hosts.common import device, where
from persona_rm.hosts.openrlhf import dpo_command, host_version, rehearse, run_trainer
from persona_rm.hosts.openrlhf.curves import group_curves, read_scalars
from persona_rm.hosts.openrlhf.launch import run_ppo
from persona_rm.hosts.openrlhf.queries import strip_prompt
from persona_rm.inferrers.posterior import PosteriorConfig, PosteriorInferrer
from persona_rm.profiles.arrow import write_snapshot
from persona_rm.serving.labels import read_label
from persona_rm.serving.pool.pool import running
from persona_rm.simulator.simulator import Simulator, SimulatorConfig
from persona_rm.types import Message, Persona, RewardRequest, Ugc
from tests.plugins.openrlhf.noting_plugins import check_one_prompt, notes_of, noting_plugin
from tests.prompts.chat_samples import save_chat_model

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(host_version() is None, reason="openrlhf is not installed"),
    pytest.mark.skipif(device() != "cpu", reason="these runs rehearse on a CPU"),
]
PROMPTS, SAMPLES, BATCH = 16, 2, 8
STEPS = PROMPTS // BATCH


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    script = where("openrlhf", "rehearsal") / "tiny_model.py"
    subprocess.run([sys.executable, script, folder], check=True, env={**os.environ, "HF_HUB_OFFLINE": "1"})
    return folder


@pytest.fixture(scope="module")
def chat_model(tmp_path_factory) -> Path:
    """Another one, whose tokenizer has a chat template, BOS and EOS."""
    return save_chat_model(tmp_path_factory.mktemp("chat_model"), "llama3", dtype="bfloat16")


def jsonl(path: Path, rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def weights(folder: Path):
    from safetensors.torch import load_file

    return {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}


def moved(before: Path, after: Path) -> bool:
    old, new = weights(before), weights(after)
    assert old.keys() <= new.keys()  # a tied head is written out
    assert all(tensor.isfinite().all() for tensor in new.values())
    return all(not tensor.equal(new[name]) for name, tensor in old.items() if tensor.dim() > 1)


def make_bundle(folder: Path, space, model: Path, **method) -> Path:
    """People of two groups, and one of a third whose evidence cannot be read."""
    like = {i: tuple(int(j == i) - int(j == i + 1) for j in range(len(space))) for i in range(2)}
    people = [User(Persona(f"u{i}", directions=like[i]), ("cats", "dogs")[i]) for i in range(2)]
    broken = User(Persona("broken", ugc=(Ugc("q", "an item that was never annotated"),)), "birds")
    # The start-up check scores the first, the middle and the last user: the broken one is none of these.
    last = User(Persona("u2", directions=like[1]), "dogs")
    return write_bundle(folder, [*people, broken, last], method={"name": "contrast", **method}, policy=str(model))


def inferring_bundle(folder: Path, space, model: Path) -> Path:
    """Two people of the embedded world whose directions nobody gave, one whom only the store knows, one erased there;
    their inferrer has learned how evidence errs from the others."""
    world = Simulator(SimulatorConfig(users=80), space)
    personas = [world.persona(person, "train", 16, 16) for person in world.users("train")]
    hidden = [persona.with_directions(None) for persona in personas]
    inferrer = PosteriorInferrer(PosteriorConfig(classes=(1,)), space)
    inferrer.fit(hidden)
    inferrer.save(folder / "inferrer")
    names = {"u0": 4, "new": 2}
    states = [inferrer.state(name, inferrer.tally(hidden[i]), v) for i, (name, v) in enumerate(names.items())]
    write_snapshot(folder / "profiles.arrow", states, {"gone": "2026-01-01"})
    people = [User(replace(hidden[i + 2], user_id=f"u{i}"), ("cats", "dogs")[i]) for i in range(2)]
    gone = User(replace(hidden[4], user_id="gone"), "cats")
    return write_bundle(
        folder, [*people, gone], method={"name": "contrast"}, policy=str(model), inferrer_dir="inferrer",
        profiles="arrow:profiles.arrow", relative_to=folder,
    )  # fmt: skip


def prompts(path: Path, labels, n=PROMPTS) -> str:
    return jsonl(path, [{"prompt": f"Question {i}: ", "label": labels[i % len(labels)]} for i in range(n)])


def ppo_args(model: Path, folder: Path, data: str, **more):
    """A team's recipe, through `rehearse`: the tests run what a user would."""
    team = {
        "actor.model_name_or_path": "an/8B-model",
        "vllm.num_engines": 4,
        "data.prompt_dataset": data,
        "data.input_key": "prompt",
        "data.label_key": "label",
        "rollout.n_samples_per_prompt": SAMPLES,
        "rollout.micro_batch_size": 4,
        "train.micro_batch_size": 4,
        "actor.adam.lr": 1e-3,
        **more,
    }
    args, _, _ = rehearse(team, model=model, out=folder)
    return args


def check(run: PpoJob, model: Path, groups=("cats", "dogs", "unknown")) -> None:
    """Every sample had a finite reward, both steps trained on all of theirs, and the weights moved."""
    samples, scalars = run.samples(), read_scalars(run.tensorboard)
    assert len(samples) >= PROMPTS * SAMPLES
    assert all(math.isfinite(row["reward"]) for row in samples)
    assert [value for _, value in scalars["train/rollout/num_samples"]] == [BATCH * SAMPLES] * STEPS
    assert all(math.isfinite(value) for values in scalars.values() for _, value in values)
    log = run.log.read_text()
    assert "Failed to fetch reward" not in log
    assert moved(model, run.tensorboard.parent / "model")
    curves = group_curves(scalars)
    assert curves.keys() == set(groups)
    assert all(0 < step <= STEPS for curve in curves.values() for step, _ in curve)


def test_dpo(tmp_path, model):
    rows = [{"prompt": f"Q{i}: ", "chosen": " good", "rejected": " bad"} for i in range(24)]
    team = {
        "model.model_name_or_path": "an/8B-model",
        "ref.model_name_or_path": "an/8B-model",
        "data.dataset": jsonl(tmp_path / "pairs.jsonl", rows),
        "data.prompt_key": "prompt",
        "adam.lr": 1e-3,
        "ds.adam_offload": True,
        "ds.zero_stage": 3,
        "ds.packing_samples": True,
    }
    args, env, _ = rehearse(team, model=model, out=tmp_path / "run")
    run_trainer(dpo_command(args), env, tmp_path / "run" / "dpo.log", echo=False)
    assert moved(model, tmp_path / "run" / "model")
    assert "openrlhf.cli.train_dpo" in (tmp_path / "run" / "commands.sh").read_text()


def kill_an_actor_in_every_step(run_dir: Path, killed: list[float]) -> None:
    """When a step has its first rewards, kill the only actor in the middle of its work."""
    import ray

    log = run_dir / "rewards" / "reward-0.jsonl"
    for step in range(STEPS):
        while not log.is_file() or len(log.read_text().splitlines()) < step * BATCH * SAMPLES + 3:
            time.sleep(0.02)
        ray.kill(ray.get_actor("reward-0", namespace="persona_rm"), no_restart=False)
        killed.append(time.time())


def test_ppo_with_reward_func_while_its_only_reward_actor_is_killed_in_every_step(tmp_path, chat_model, space):
    """With a chat model, whose prompts hold the user in its template."""
    bundle = make_bundle(tmp_path / "bundle", space, chat_model, chat="template")
    labels, loaded = ["u0", "u1", "stranger", None], load_bundle(bundle)
    rows = []
    for i in range(PROMPTS):
        label = {"user": labels[i % 4], "prompt": f"Question {i}: "}
        rows.append({"prompt": loaded.render(label["user"], label["prompt"]), "label": label})
    data = jsonl(tmp_path / "p.jsonl", rows)
    estimator = {"algo.advantage.estimator": "reinforce_baseline", "algo.kl.init_coef": 0}
    args = ppo_args(chat_model, tmp_path / "run", data, **estimator)
    args |= {"data.max_len": 1024, "reward.remote_url": noting_plugin(tmp_path / "plugin", "reward")}
    killed: list[float] = []
    threading.Thread(target=kill_an_actor_in_every_step, args=(tmp_path / "run", killed), daemon=True).start()
    run = run_ppo(args, bundle, tmp_path / "run", echo=False)
    check(run, chat_model)
    samples = run.samples()
    assert len(killed) == STEPS
    assert [row for row in samples if row["time"] > killed[-1]]
    assert {row["user"] for row in samples} == {"u0", "u1", "stranger", None}
    cold = [value for _, value in read_scalars(run.tensorboard)["train/persona_rm/cold"]]
    assert sum(cold) / len(cold) == pytest.approx(0.5)
    for note in notes_of(tmp_path / "plugin")[:: PROMPTS // 2]:
        user, post = note["label"]["user"], note["label"]["prompt"]
        response, finished = strip_prompt(note["query"], note["prompt"], loaded.chat)
        ids = loaded.chat.tokenizer(note["prompt"], add_special_tokens=False)["input_ids"]
        answer = RewardRequest(user, post, response, finished)
        check_one_prompt(bundle, ids, user, post, answer, note["reward"])


@pytest.fixture(scope="module")
def agent_run(tmp_path_factory, chat_model, space):
    """Two tests look at this run: through agent_func with a critic and a reference model, while GPUs are hidden and
    one user cannot be scored, whose groups are left out. The host puts the prompts into the chat template."""
    folder = tmp_path_factory.mktemp("agent")
    bundle = make_bundle(folder / "bundle", space, chat_model, chat="template")
    labels = ["u0", "broken", "u1", '{"user": "u0"}', "[junk"]
    n = PROMPTS * len(labels) // 4
    data = prompts(folder / "p.jsonl", labels, n)
    estimator = {"algo.advantage.estimator": "gae", "algo.kl.init_coef": 0.01, "critic.adam.lr": 1e-3}
    args = ppo_args(chat_model, folder / "run", data, **estimator, **{"algo.dynamic_filtering_enable": True})
    args["data.max_samples"] = n  # a rehearsal would take `PROMPTS` of them
    args |= {"data.max_len": 1024, "data.apply_chat_template": True}
    args["train.agent_func_path"] = noting_plugin(folder / "plugin", "agent")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        return run_ppo(args, bundle, folder / "run", PpoOptions("agent", 2, on_failure="skip_group"), echo=False)


def test_ppo_with_agent_func_critic_and_reference_where_gpus_are_hidden(agent_run, chat_model):
    check(agent_run, chat_model)
    scalars = read_scalars(agent_run.tensorboard)
    assert {"train/critic_loss", "train/kl"} <= scalars.keys()
    bad = [value for _, value in scalars["train/persona_rm/bad_label"]]
    assert sum(bad) / len(bad) == pytest.approx(0.25)
    assert all(value == 0 for _, value in scalars["train/persona_rm/prompt_cut"])
    cut = [row for row in agent_run.samples() if not row["finished"]]
    shares = [value for _, value in scalars["train/persona_rm/cut"]]
    assert sum(shares) / len(shares) == pytest.approx(len(cut) / (PROMPTS * SAMPLES))


def test_agent_func_gives_the_policy_the_prompt_of_the_reward_and_of_dpo_rows(agent_run):
    folder = agent_run.log.parent.parent
    chat = load_bundle(folder / "bundle").chat
    seen = set()
    for note in notes_of(folder / "plugin"):
        label = read_label(note["label"])
        if note["reward"] is None or label.user in seen:
            continue
        seen.add(label.user)
        (*_, line) = chat.tokenizer.decode(note["ids"]).split("***Task***\n\n")
        bare = (Message("user", line.partition("\n\n")[0]),)
        assert bare[0].content.startswith("Question ")
        answer = RewardRequest(label.user, bare, chat.response(note["answer"]), note["finished"])
        check_one_prompt(folder / "bundle", note["ids"], label.user, bare[0].content, answer, note["reward"])
    assert seen == {"u0", "u1", None}


def watch(run_dir: Path, seen: dict[str, dict]) -> None:
    """The last counters of every actor, from the first reward until they are gone."""
    import ray

    while not (run_dir / "rewards").is_dir() or not list((run_dir / "rewards").glob("*.jsonl")):
        time.sleep(0.1)
    with suppress(ray.exceptions.RayError, ValueError):
        while ray.is_initialized():
            for info in running().info():
                seen[info["name"]] = info
            time.sleep(0.2)


def test_ppo_where_directions_are_inferred_and_the_inference_actor_says_them(tmp_path, model, space):
    bundle = inferring_bundle(tmp_path / "bundle", space, model)
    data = prompts(tmp_path / "p.jsonl", ["u0", "u1", "new", "gone"])
    estimator = {"algo.advantage.estimator": "reinforce_baseline", "algo.kl.init_coef": 0}
    args = ppo_args(model, tmp_path / "run", data, **estimator)
    seen: dict[str, dict] = {}
    threading.Thread(target=watch, args=(tmp_path / "run", seen), daemon=True).start()
    run = run_ppo(args, bundle, tmp_path / "run", PpoOptions("agent", n_actors=2), echo=False)
    check(run, model, ("cats", "dogs", "all", "unknown"))
    assert seen.keys() == {"inference-0", "reward-0", "reward-1"}
    counts = seen["inference-0"]["counts"]
    assert counts["profiles"] == PROMPTS * SAMPLES
    assert counts["erased"] == counts["profiles"] / 4
    assert not any("profiles" in seen[name]["counts"] for name in ("reward-0", "reward-1"))
    found = {(row["user"], row["state_version"], row["erased"]) for row in run.samples()}
    assert found == {("u0", 4, False), ("u1", 0, False), ("new", 2, False), ("gone", 0, True)}
    erased = [value for _, value in read_scalars(run.tensorboard)["train/persona_rm/erased"]]
    assert sum(erased) / len(erased) == pytest.approx(0.25)
    told = load_bundle(bundle)
    assert len({told.profile(name) for name in ("u0", "u1", "new")} - {""}) == 3
    assert told.profile("gone") == ""


@pytest.mark.parametrize("plugin", ["reward", "agent"])
def test_a_reward_that_cannot_be_had_stops_the_job_and_says_why(tmp_path, model, space, plugin):
    bundle = make_bundle(tmp_path / "bundle", space, model)
    data = prompts(tmp_path / "p.jsonl", ["u0", "u1", "u0", "broken"])
    estimator = {"algo.advantage.estimator": "reinforce_baseline", "algo.kl.init_coef": 0}
    args = ppo_args(model, tmp_path / "run", data, **estimator)
    with pytest.raises(HostError, match=r"the job was stopped: .*user 'broken', ugc\[0\] carries no directions"):
        run_ppo(args, bundle, tmp_path / "run", PpoOptions(plugin), echo=False)
    assert not (tmp_path / "run" / "model" / "model.safetensors").exists()


def check_skipped(run: PpoJob, model: Path, users: set[str | None], n: int) -> None:
    """`n` samples of these users were trained on, and a quarter of `PROMPTS`, those of "broken", left out."""
    theirs = PROMPTS // 4 * SAMPLES
    samples, skipped, scalars = run.samples(), run.skipped(), read_scalars(run.tensorboard)
    assert len(samples) == n
    assert {row["user"] for row in samples} == users
    assert all(math.isfinite(row["reward"]) for row in samples)
    assert all(math.isfinite(value) for values in scalars.values() for _, value in values)
    assert sum(value for _, value in scalars["train/rollout/num_samples"]) == len(samples)
    assert all(value == 0 for _, value in scalars["train/persona_rm/share/birds"])
    assert [row["user"] for row in skipped] == ["broken"] * theirs
    assert [row["total"] for row in skipped] == list(range(1, theirs + 1))
    assert all("ugc[0] carries no directions" in row["reason"] for row in skipped)
    assert scalars["train/persona_rm/skipped"][-1][1] > 0
    log = run.log.read_text()
    assert f"sample left out, {theirs} in this process: " in log
    assert "avg_reward=nan" in log
    assert "Failed to fetch reward" not in log
    assert moved(model, run.tensorboard.parent / "model")


def test_skip_group_trains_on_everybody_but_the_one_whose_reward_fails(tmp_path, model, space):
    bundle = make_bundle(tmp_path / "bundle", space, model)
    data = prompts(tmp_path / "p.jsonl", ["u0", "u1", "u0", "broken"])
    estimator = {"algo.advantage.estimator": "reinforce_baseline", "algo.kl.init_coef": 0}
    args = ppo_args(model, tmp_path / "run", data, **estimator, **{"algo.dynamic_filtering_enable": True})
    run = run_ppo(args, bundle, tmp_path / "run", PpoOptions("reward", on_failure="skip_group"), echo=False)
    check_skipped(run, model, {"u0", "u1"}, PROMPTS * SAMPLES - PROMPTS // 4 * SAMPLES)


def test_skip_group_trains_on_everybody_but_the_one_whose_profile_fails(agent_run, chat_model):
    check_skipped(agent_run, chat_model, {"u0", "u1", None}, PROMPTS * SAMPLES)


def test_a_bundle_that_cannot_score_fails_before_the_host_starts(tmp_path, space):
    bundle = write_bundle(tmp_path / "bundle", [Persona("u0")], method={"name": "pba"})
    with pytest.raises(HostError, match=r"reward actors did not start.*(?s:.*)log-prob backend"):
        run_ppo(ppo_args(tmp_path, tmp_path / "run", "none.jsonl"), bundle, tmp_path / "run", echo=False)
    assert not (tmp_path / "run" / "ppo.log").exists()
