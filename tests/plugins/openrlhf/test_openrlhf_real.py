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
from persona_rm.io.log_ids import LogIds
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


def told_users(space) -> list[User]:
    """Two users of two groups whose directions are given, and one of a third whose evidence cannot be read."""
    like = {i: tuple(int(j == i) - int(j == i + 1) for j in range(len(space))) for i in range(2)}
    people = [User(Persona(f"u{i}", directions=like[i]), ("cats", "dogs")[i]) for i in range(2)]
    return [*people, User(Persona("broken", ugc=(Ugc("q", "an item that was never annotated"),)), "birds")]


def make_bundle(folder: Path, space, model: Path, **method) -> Path:
    """The start-up check scores the first, the middle and the last user: the broken one is none of these."""
    u0, u1, broken = told_users(space)
    u2 = replace(u1, persona=replace(u1.persona, user_id="u2"))
    return write_bundle(folder, [u0, u1, broken, u2], method={"name": "contrast", **method}, policy=str(model))


def inferring_bundle(folder: Path, space, model: Path) -> Path:
    """The same, and two simulated users whose directions nobody gave, one whom only the store knows, one erased there;
    their inferrer has learned how evidence errs from others."""
    world = Simulator(SimulatorConfig(users=80), space)
    personas = [world.persona(person, "train", 16, 16) for person in world.users("train")]
    hidden = [persona.with_directions(None) for persona in personas]
    inferrer = PosteriorInferrer(PosteriorConfig(classes=(1,)), space)
    inferrer.fit(hidden)
    inferrer.save(folder / "inferrer")
    names = {"ann": 4, "new": 2}
    states = [inferrer.state(name, inferrer.tally(hidden[i]), v) for i, (name, v) in enumerate(names.items())]
    write_snapshot(folder / "profiles.arrow", states, {"gone": "2026-01-01"})
    evidence = {"ann": hidden[2], "bob": hidden[3], "gone": hidden[4]}
    ann, bob, gone = (User(replace(persona, user_id=name), "cats") for name, persona in evidence.items())
    users = [ann, bob, *told_users(space), gone]
    return write_bundle(
        folder, users, method={"name": "contrast", "chat": "template"}, policy=str(model), inferrer_dir="inferrer",
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


def check(run: PpoJob, model: Path, groups, groups_of_step=(BATCH,) * STEPS) -> None:
    """Every sample had a finite reward, each step trained on all of its samples, and the weights moved."""
    samples, scalars = run.samples(), read_scalars(run.tensorboard)
    assert len(samples) == sum(groups_of_step) * SAMPLES
    assert all(math.isfinite(row["reward"]) for row in samples)
    trained = [value for _, value in scalars["train/rollout/num_samples"]]
    assert trained == [n * SAMPLES for n in groups_of_step]
    assert all(math.isfinite(value) for values in scalars.values() for _, value in values)
    log = run.log.read_text()
    assert "Failed to fetch reward" not in log
    assert moved(model, run.tensorboard.parent / "model")
    curves = group_curves(scalars)
    assert curves.keys() == set(groups)
    assert all(0 < step <= STEPS for curve in curves.values() for step, _ in curve)


def check_skipped(run: PpoJob, users: set[str | None]) -> None:
    """Samples of these users were trained on, and those of a quarter of `PROMPTS`, of "broken", left out."""
    theirs = PROMPTS // 4 * SAMPLES
    samples, skipped, scalars = run.samples(), run.skipped(), read_scalars(run.tensorboard)
    ids = LogIds.existing(run.log.parent)
    assert {row["user"] for row in samples} == {user and ids.of(user) for user in users}
    assert sum(value for _, value in scalars["train/rollout/num_samples"]) == len(samples)
    assert all(value == 0 for _, value in scalars["train/persona_rm/share/birds"])
    assert [row["user"] for row in skipped] == [ids.of("broken")] * theirs
    assert [row["total"] for row in skipped] == list(range(1, theirs + 1))
    assert all("ugc[0] carries no directions" in row["reason"] for row in skipped)
    assert scalars["train/persona_rm/skipped"][-1][1] > 0
    log = run.log.read_text()
    assert f"sample left out, {theirs} in this process: " in log
    assert "avg_reward=nan" in log


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
    """With a chat model, whose prompts hold the user in its template, and one user who cannot be scored, whose groups
    are left out. The last step has fewer groups than a batch."""
    bundle = make_bundle(tmp_path / "bundle", space, chat_model, chat="template")
    labels, loaded = ["u0", "stranger", "broken", "u1", None], load_bundle(bundle)
    rows = []
    for i in range(PROMPTS + 2):
        label = {"user": labels[i % 5], "prompt": f"Question {i}: "}
        # The reward of "broken" cannot be had, and neither can the prompt of this user.
        user = None if label["user"] == "broken" else label["user"]
        rows.append({"prompt": loaded.render(user, label["prompt"]), "label": label})
    data = jsonl(tmp_path / "p.jsonl", rows)
    estimator = {"algo.advantage.estimator": "reinforce_baseline", "algo.kl.init_coef": 0}
    args = ppo_args(chat_model, tmp_path / "run", data, **estimator, **{"algo.dynamic_filtering_enable": True})
    args["data.max_samples"] = len(rows)  # a rehearsal would take `PROMPTS` of them
    args |= {"data.max_len": 1024, "reward.remote_url": noting_plugin(tmp_path / "plugin", "reward")}
    killed: list[float] = []
    threading.Thread(target=kill_an_actor_in_every_step, args=(tmp_path / "run", killed), daemon=True).start()
    run = run_ppo(args, bundle, tmp_path / "run", PpoOptions("reward", on_failure="skip_group"), echo=False)
    check(run, chat_model, ("cats", "dogs", "unknown"), (BATCH, BATCH - 2))
    samples = run.samples()
    check_skipped(run, {"u0", "u1", "stranger", None})
    assert len(killed) == STEPS
    assert [row for row in samples if row["time"] > killed[-1]]
    scalars = read_scalars(run.tensorboard)
    cold, sizes = (scalars[f"train/{name}"] for name in ("persona_rm/cold", "rollout/num_samples"))
    assert sum(share * n for (_, share), (_, n) in zip(cold, sizes, strict=True)) == pytest.approx(len(samples) / 2)
    scored = [note for note in notes_of(tmp_path / "plugin") if note["reward"] is not None]
    for note in scored[:: PROMPTS // 2]:
        user, post = note["label"]["user"], note["label"]["prompt"]
        response, finished = strip_prompt(note["query"], note["prompt"], loaded.chat)
        ids = loaded.chat.tokenizer(note["prompt"], add_special_tokens=False)["input_ids"]
        answer = RewardRequest(user, post, response, finished)
        check_one_prompt(bundle, ids, user, post, answer, note["reward"])


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


@pytest.fixture(scope="module")
def agent_run(tmp_path_factory, chat_model, space):
    """Four tests look at this run, and at the last counters of its actors: through agent_func with a critic and a
    reference model, while GPUs are hidden. Directions are inferred, and one user cannot be scored, whose groups are
    left out. The host puts the prompts into the chat template."""
    folder = tmp_path_factory.mktemp("agent")
    bundle = inferring_bundle(folder / "bundle", space, chat_model)
    labels = ["u0", "broken", "u1", '{"user": "u0"}', "[junk", "ann", "bob", "broken", "new", "gone"]
    n = PROMPTS * 5 // 4
    data = prompts(folder / "p.jsonl", labels, n)
    estimator = {"algo.advantage.estimator": "gae", "algo.kl.init_coef": 0.01, "critic.adam.lr": 1e-3}
    # Users with many directions get rewards of some 20 nats, whose scores are 1: the host's range would drop them.
    filtering = {"algo.dynamic_filtering_enable": True, "algo.dynamic_filtering_range": [-1, 2]}
    args = ppo_args(chat_model, folder / "run", data, **estimator, **filtering)
    args["data.max_samples"] = n  # a rehearsal would take `PROMPTS` of them
    args |= {"data.max_len": 1024, "data.apply_chat_template": True}
    args["train.agent_func_path"] = noting_plugin(folder / "plugin", "agent")
    actors: dict[str, dict] = {}
    threading.Thread(target=watch, args=(folder / "run", actors), daemon=True).start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        run = run_ppo(args, bundle, folder / "run", PpoOptions("agent", 2, on_failure="skip_group"), echo=False)
    return run, actors


def test_ppo_with_agent_func_critic_and_reference_where_gpus_are_hidden(agent_run, chat_model):
    run, _ = agent_run
    check(run, chat_model, ("cats", "dogs", "all", "unknown"))
    scalars = read_scalars(run.tensorboard)
    assert {"train/critic_loss", "train/kl"} <= scalars.keys()
    bad = [value for _, value in scalars["train/persona_rm/bad_label"]]
    assert sum(bad) / len(bad) == pytest.approx(1 / BATCH)
    assert all(value == 0 for _, value in scalars["train/persona_rm/prompt_cut"])
    cut = [row for row in run.samples() if not row["finished"]]
    shares = [value for _, value in scalars["train/persona_rm/cut"]]
    assert sum(shares) / len(shares) == pytest.approx(len(cut) / (PROMPTS * SAMPLES))


def test_agent_func_gives_the_policy_the_prompt_of_the_reward_and_of_dpo_rows(agent_run):
    folder = agent_run[0].log.parent.parent
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
    assert seen == {"u0", "u1", "ann", "bob", "new", "gone", None}


def test_ppo_where_directions_are_inferred_and_the_inference_actor_says_them(agent_run):
    run, actors = agent_run
    assert actors.keys() == {"inference-0", "reward-0", "reward-1"}
    counts = actors["inference-0"]["counts"]
    assert counts["profiles"] == PROMPTS * SAMPLES
    assert counts["erased"] == counts["profiles"] / BATCH
    assert not any("profiles" in actors[name]["counts"] for name in ("reward-0", "reward-1"))
    logged = {LogIds.existing(run.log.parent).of(name): name for name in ("ann", "bob", "new")}
    inferred = [row for row in run.samples() if row["user"] in logged or row["erased"]]
    states = {(logged.get(row["user"], "gone"), row["state_version"], row["erased"]) for row in inferred}
    assert states == {("ann", 4, False), ("bob", 0, False), ("new", 2, False), ("gone", 0, True)}
    erased = [value for _, value in read_scalars(run.tensorboard)["train/persona_rm/erased"]]
    assert sum(erased) / len(erased) == pytest.approx(1 / BATCH)
    told = load_bundle(run.log.parent.parent / "bundle")
    assert len({told.profile(name) for name in ("ann", "bob", "new")} - {""}) == 3
    assert told.profile("gone") == ""


def test_skip_group_trains_on_everybody_but_the_one_whose_profile_fails(agent_run):
    # "gone" was erased, and the log does not name erased users.
    check_skipped(agent_run[0], {"u0", "u1", "ann", "bob", "new", None})


@pytest.mark.parametrize("plugin", ["reward", "agent"])
def test_a_reward_that_cannot_be_had_stops_the_job_and_says_why(tmp_path, model, space, plugin):
    bundle = make_bundle(tmp_path / "bundle", space, model)
    data = prompts(tmp_path / "p.jsonl", ["u0", "u1", "u0", "broken"])
    estimator = {"algo.advantage.estimator": "reinforce_baseline", "algo.kl.init_coef": 0}
    args = ppo_args(model, tmp_path / "run", data, **estimator)
    with pytest.raises(
        HostError, match=r"the job was stopped: .*user user-[0-9a-f]{32}, ugc\[0\] carries no directions"
    ):
        run_ppo(args, bundle, tmp_path / "run", PpoOptions(plugin), echo=False)
    assert not (tmp_path / "run" / "model" / "model.safetensors").exists()


def test_a_bundle_that_cannot_score_fails_before_the_host_starts(tmp_path, space):
    bundle = write_bundle(tmp_path / "bundle", [Persona("u0")], method={"name": "pba"})
    with pytest.raises(HostError, match=r"reward actors did not start.*(?s:.*)log-prob backend"):
        run_ppo(ppo_args(tmp_path, tmp_path / "run", "none.jsonl"), bundle, tmp_path / "run", echo=False)
    assert not (tmp_path / "run" / "ppo.log").exists()
