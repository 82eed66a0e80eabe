"""Reward time as a share of rollout time: a small real PPO with each user's reward from embeddings.

    python tests/perf/rollout_share.py --json figures.json [--tokens 64] [--actors 1] [--layers 0]

Unmodified OpenRLHF with vLLM, as `persona-rm rehearse` runs it; the policy is the packaged model, a tenth of the
encoder's size, or with `--layers` one as large as real ones with random weights; the method `pba_linear` with the
`encoder` annotator (MiniLM). The rollout's time is the host's own `timing/generation`: from
drawing prompts until the last sample has its reward. The reward's time is measured where the rollout waits: a file
between the host and reward_func.py notes when each call began and ended, transport and queue included.

`sum_share`      all waits together / rollout time; waits overlap, so this can exceed 1.
`share`          wall time in which at least one sample waited for its reward / rollout time; goal under 5 %.
`added_share`    the same, after the engine had finished its last answer: what the rollout would have lasted less.
`inside_share`   the actors' own time (`ms` of their log) / rollout time, overlaps counted once.
`alone_share`    the obvious way: the same rewards one after the other, in this process / rollout time.
`floor_share`    the cheaper of that and all in one call: where it is above the goal `share` cannot reach it on this
                 machine, because the encoder is larger than the policy and works on the same cores.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random
from statistics import median

from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from persona_rm.bundle import User, load_bundle, write_bundle
from persona_rm.hosts.base import PpoJob, PpoOptions
from persona_rm.hosts.common import where
from persona_rm.hosts.openrlhf import rehearse
from persona_rm.hosts.openrlhf.curves import read_scalars
from persona_rm.hosts.openrlhf.launch import run_ppo
from persona_rm.hosts.openrlhf.queries import strip_prompt
from persona_rm.pipeline.members import model_folder
from persona_rm.space import load_space
from persona_rm.types import Persona, RewardRequest

GOAL = 0.05
USERS, PROMPTS, SAMPLES, BATCH = 8, 16, 2, 8
BETWEEN = """
import importlib.util, json, os, time
from pathlib import Path
spec = importlib.util.spec_from_file_location("reward_func", {plugin!r})
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
notes = Path({notes!r}) / f"{{os.getpid()}}.jsonl"

def reward_func(queries, prompts, labels, **keys):
    began = time.time()
    found = module.reward_func(queries, prompts, labels, **keys)
    with notes.open("a") as file:
        file.write(json.dumps([began, time.time(), labels[0], prompts[0], queries[0]]) + "\\n")
    return found
"""
Span = tuple[float, float]
Note = tuple[float, float, str, str, str]
"""When a call began and ended, its label, prompt and query."""


def prepare(folder: Path) -> tuple[Path, str, Path]:
    """The bundle, the prompts, and the file between the host and the plugin."""
    space = load_space("alignx90")
    users = [
        User(Persona(f"u{i}", directions=tuple(Random(i).choices([-1, 0, 1], k=len(space))))) for i in range(USERS)
    ]
    method = {"method": {"name": "pba_linear"}, "annotator": {"name": "encoder"}}
    bundle = write_bundle(folder / "bundle", users, **method)
    rows = [{"prompt": f"What do you think of evening {i}? ", "label": f"u{i % USERS}"} for i in range(PROMPTS)]
    (folder / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (folder / "notes").mkdir()
    between = folder / "between.py"
    text = BETWEEN.format(plugin=str(where("openrlhf")), notes=str(folder / "notes"))
    between.write_text(text, encoding="utf-8")
    return bundle, str(folder / "prompts.jsonl"), between


def policy_of(folder: Path, layers: int) -> Path:
    """The packaged model, or one of `layers` layers of 7.1 M weights each, which speaks its tokens at random."""
    start = model_folder("simulator_lm")
    if not layers:
        return start
    wide = {"hidden_size": 768, "intermediate_size": 2048, "num_attention_heads": 12, "num_key_value_heads": 12}
    config = AutoConfig.from_pretrained(start, num_hidden_layers=layers, trust_remote_code=False, **wide)
    AutoModelForCausalLM.from_config(config, trust_remote_code=False).save_pretrained(folder / "policy")
    AutoTokenizer.from_pretrained(start, trust_remote_code=False).save_pretrained(folder / "policy")
    return folder / "policy"


def train(folder: Path, tokens: int, actors: int, layers: int) -> tuple[PpoJob, Path]:
    """A finished job of two steps, and its bundle."""
    bundle, data, between = prepare(folder)
    team = {
        "actor.model_name_or_path": "an/8B-model",
        "vllm.num_engines": 1,
        "data.prompt_dataset": data,
        "data.input_key": "prompt",
        "data.label_key": "label",
        "rollout.n_samples_per_prompt": SAMPLES,
        "rollout.batch_size": BATCH,
        "rollout.micro_batch_size": 4,
        "train.micro_batch_size": 4,
        "algo.advantage.estimator": "reinforce_baseline",
        "algo.kl.init_coef": 0,
    }
    args, _, _ = rehearse(team, model=policy_of(folder, layers), out=folder / "run")
    args |= {"reward.remote_url": str(between), "rollout.max_new_tokens": tokens}
    return run_ppo(args, bundle, folder / "run", PpoOptions(n_actors=actors), echo=False), bundle


def union(spans: Iterable[Span]) -> float:
    """Seconds in which at least one of these was under way."""
    total, end = 0.0, float("-inf")
    for began, ended in sorted(spans):
        total += max(ended - max(began, end), 0.0)
        end = max(end, ended)
    return total


def by_rollout(spans: Sequence[Span], size: int) -> list[list[Span]]:
    """The waits of each rollout: the next one begins after all of these have ended."""
    ordered = sorted(spans)
    return [ordered[start : start + size] for start in range(0, len(ordered), size)]


def added(spans: Sequence[Span]) -> float:
    """Seconds from the last answer, which is the last call for a reward, to the last reward."""
    return max(ended for _, ended in spans) - max(began for began, _ in spans)


def in_process(bundle: Path, notes: Sequence[Note]) -> tuple[float, float]:
    """Seconds of these rewards one by one, and in one call; models loaded, nothing remembered."""
    rows = [RewardRequest(label, prompt, strip_prompt(query, prompt)) for _, _, label, prompt, query in notes]
    ways = [[one] for one in rows], [rows]
    return timed(bundle, ways[0]), timed(bundle, ways[1])


def timed(bundle: Path, calls: Sequence[Sequence[RewardRequest]]) -> float:
    loaded = load_bundle(bundle)
    loaded.score([RewardRequest(None, "What? ", "Nothing.")])
    started = time.perf_counter()
    for rows in calls:
        loaded.score(rows)
    return time.perf_counter() - started


def measure(folder: Path, tokens: int, actors: int, layers: int) -> dict[str, float]:
    """The figures of one job."""
    run, bundle = train(folder, tokens, actors, layers)
    scalars = read_scalars(run.tensorboard)
    rollouts = [value for _, value in scalars["train/timing/generation"]]
    notes = [tuple(json.loads(line)) for file in (folder / "notes").iterdir() for line in file.open(encoding="utf-8")]
    spans = [(began, ended) for began, ended, *_ in notes]
    inside = [(row["time"] - row["ms"] / 1000, row["time"]) for row in run.samples()]
    steps = by_rollout(spans, BATCH * SAMPLES)
    assert len(steps) == len(rollouts), f"{len(spans)} rewards in {len(rollouts)} rollouts"
    whole, (alone, together) = sum(rollouts), in_process(bundle, notes)
    figures = {
        "sum_share": sum(ended - began for began, ended in spans) / whole,
        "share": union(spans) / whole,
        "added_share": sum(map(added, steps)) / whole,
        "inside_share": union(inside) / whole,
        "alone_share": alone / whole,
        "floor_share": min(alone, together) / whole,
    }
    for i, (step, seconds) in enumerate(zip(steps, rollouts, strict=True)):
        figures |= {f"share_step_{i}": union(step) / seconds, f"rollout_s_step_{i}": seconds}
    waits = [1000 * (ended - began) for began, ended in spans]
    figures["answer_letters_median"] = median(len(strip_prompt(query, prompt)) for *_, prompt, query in notes)
    figures |= {"wait_ms_median": median(waits), "wait_ms_max": max(waits), "rewards": len(spans), "goal": GOAL}
    return figures | {"ratio_alone": figures["alone_share"] / figures["share"], "load": os.getloadavg()[0]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--tokens", type=int, default=64, help="longest answer; a real job's are 1,024 by default")
    parser.add_argument("--actors", type=int, default=1, help="reward actors")
    parser.add_argument(
        "--layers", type=int, default=0, help="of a random policy, 7.1 M weights each; 0: the packaged"
    )
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), told.tokens, told.actors, told.layers)
    for key, value in figures.items():
        print(f"{key:20}{value:>12.4f}")
    if told.json:
        told.json.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
