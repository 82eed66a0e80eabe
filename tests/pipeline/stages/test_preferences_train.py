"""`pairs` with real vLLM and `relabel`, and the host's real DPO trainer on what both wrote."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest
from rich.console import Console

from persona_rm.bundle import load_bundle
from persona_rm.hosts import load_host
from persona_rm.hosts.base import HostJob
from persona_rm.pipeline.members import model_folder, simulator_of
from persona_rm.pipeline.run import RunFolder
from persona_rm.pipeline.stages import on_policy
from persona_rm.pipeline.stages.on_policy import rewards_of, run_rounds
from persona_rm.pipeline.stages.relabel import RelabelConfig, relabel
from persona_rm.pipeline.stages.sampled_pairs import PairsConfig, make_pairs
from persona_rm.recipe import Recipe
from tests.hosts.openrlhf.test_preferences import ASKED, NO, YES
from tests.pipeline.stages.pair_samples import read, two_users, write
from tests.source import ROOT


@pytest.fixture
def written(tmp_path, engine):
    """The rows of both verbs for two users of opposite tastes."""
    source = {"name": "simulator", "users": 8, "test_users": 2, "posts": 20}
    simulator = simulator_of(Recipe(name="t", source=source))
    posts, writers = simulator.posts("train"), simulator.users("train")
    bundle, users = two_users(tmp_path), ("ann", "bob")
    prompts = write(tmp_path / "prompts.jsonl", [{"prompt": post.text} for post in posts[:6]])
    sampling = PairsConfig(n=6, max_tokens=40, users=users, cut_answers=True)
    make_pairs(prompts, bundle, engine, tmp_path / "pairs.jsonl", sampling)
    said = [[simulator.reply(writer, post, "train").text for writer in writers[:2]] for post in posts[:8]]
    rows = [{"prompt": post.text, "chosen": a, "rejected": b} for post, (a, b) in zip(posts, said, strict=False)]
    prefs = write(tmp_path / "prefs.jsonl", rows)
    relabel(prefs, bundle, tmp_path / "relabelled.jsonl", RelabelConfig(users=users))
    return bundle, tmp_path / "pairs.jsonl", tmp_path / "relabelled.jsonl"


@pytest.mark.slow
def test_the_hosts_dpo_trains_on_pairs_and_relabelled_rows(written, tmp_path, monkeypatch):
    pytest.importorskip("openrlhf", reason="openrlhf is not installed")
    bundle, pairs, relabelled = written
    sampled = read(pairs)
    assert sampled
    assert {row["user"] for row in read(relabelled)} == {"ann", "bob"}
    for row in sampled:
        assert row["prompt"] == bundle.render(row["user"], row["bare_prompt"])
        assert row["margin"] > 0
        assert row["chosen"] != row["rejected"]
    host = load_host("openrlhf")
    team = {**host.preference_flags(pairs), "data.dataset": f"{pairs},{relabelled}", "ds.packing_samples": True}
    team |= {"model.model_name_or_path": "/models/large", "train.batch_size": 128, "logger.logging_steps": 1}
    args, env, changes = host.rehearse(team, model=model_folder("simulator_lm"), out=tmp_path / "out", on="cpu")
    assert any(change.startswith("model.model_name_or_path: /models/large ->") for change in changes)
    job = host.dpo_job(model_folder("simulator_lm"), pairs, tmp_path / "out", args, "cpu")
    host.run(HostJob(job.argv, {**env, **job.env}), tmp_path / "dpo.log")
    steps = re.findall(r"Train step of epoch 0: 100%", (tmp_path / "dpo.log").read_text())
    assert steps
    assert list((tmp_path / "out" / "model").glob("*.safetensors"))
    monkeypatch.syspath_prepend(str(ROOT / "plugins" / "openrlhf" / "rehearsal" / "stubs"))
    assert margins_of_the_host(relabelled) == [row["margin"] for row in read(relabelled)]
    assert messages_of_the_host(host) == ("<user>Well?<assistant>", "No.", "Yes.", 1.5)


@pytest.mark.slow
def test_a_round_on_the_policys_own_answers_for_users_of_a_file(tmp_path, engine, monkeypatch):
    """Real vLLM and the real trainer, on the stages of a recipe. The policy is the model of the session's engine."""
    pytest.importorskip("openrlhf", reason="openrlhf is not installed")
    monkeypatch.setattr(on_policy, "engine_of", lambda model, on: engine)
    monkeypatch.setattr(engine, "close", lambda: None)
    source = {"name": "simulator", "users": 8, "test_users": 2, "posts": 40}
    simulator = simulator_of(Recipe(name="t", source=source))
    writers, rows = simulator.users("train")[:4], []
    for place, post in enumerate(simulator.posts("train")[:16]):
        a, b = (simulator.reply(writers[(place + turn) % 4], post, "train").text for turn in (0, 1))
        rows.append({"user": writers[place % 4].id, "prompt": post.text, "chosen": a, "rejected": b})
    users = write(tmp_path / "users.jsonl", rows)
    rounds = {"reward": "pba_linear", "prompts": 16, "samples": 4, "max_tokens": 48, "inferrer": "vote"}
    args = {"train.batch_size": 4, "train.micro_batch_size": 2, "data.max_len": 1024, "adam.lr": 1e-3}
    args |= {"ds.attn_implementation": "sdpa", "ds.zero_stage": 0}
    section = {"method": "pba", "users": users, "on_policy": {**rounds, "cut_answers": True}, "args": args}
    recipe = Recipe(name="t", annotator={"name": "simulator"}, out=str(tmp_path / "run"), dpo={"own": section})
    run, config = RunFolder(recipe, recipe.folder, Console(quiet=True)), recipe.dpo["own"]
    folder = run.folder / "dpo" / "own"
    shutil.copytree(model_folder("simulator_lm"), folder / "offline" / "model")
    run_rounds(run, "own", config, "key", rewards_of(run, "own", config, {}))
    trained = read(folder / "round-1" / "rows.jsonl")
    bundle = load_bundle(folder / "rewards" / "bundle")
    assert len(trained) >= 8
    assert {row["user"] for row in trained} <= {writer.id for writer in writers}
    for row in trained:
        assert row["prompt"] == bundle.render(row["user"], row["bare_prompt"])
        assert row["margin"] > 0
    moved = json.loads((folder / "round-1" / "moved.json").read_text())
    assert moved["share"] > 0
    assert (folder / "model").resolve() == (folder / "round-1" / "model").resolve()


def messages_of_the_host(host):
    """Prompt, chosen, rejected and margin that the host reads in a row of chat messages that was turned."""
    from openrlhf.datasets.reward_dataset import preprocess_data

    def template(messages, tokenize, add_generation_prompt=False):
        said = "".join(f"<{message['role']}>{message['content']}" for message in messages)
        return said + "<assistant>" * add_generation_prompt

    row = host.preference_row({"prompt": [ASKED], "chosen": [YES], "rejected": [NO]}, None, 1.5, turned=True)
    return preprocess_data(row, prompt_key="prompt", apply_chat_template=template, is_dpo=True)


def margins_of_the_host(path):
    """The margins that the host's trainer of reward models gets from a file."""
    from datasets import load_dataset
    from openrlhf.datasets import RewardDataset

    keys = {"prompt_key": "prompt", "chosen_key": "chosen", "rejected_key": "rejected", "apply_chat_template": False}
    strategy = SimpleNamespace(args=SimpleNamespace(data=SimpleNamespace(**keys)))
    rows = load_dataset("json", data_files=str(path), split="train", cache_dir=str(path.parent / "cache"))
    return list(RewardDataset(rows, None, 512, strategy, is_dpo=False, num_processors=1).extras)
