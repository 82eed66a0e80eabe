"""A prompt's responses through vLLM with its prefix cache read, against each row computed whole, in one run.

    python tests/perf/vllm_prefix.py [--json FILE] [--persona 2048] [--response 256] [--group 8]

One random float32 Llama, one engine. Each repeat draws a user's prompt whose blocks were not computed before and a
group of responses; both ways score the same rows, the shared way first, because the other way writes the cache too.
Then come the cases in which vLLM's entries are not the model's: rows sent again, a prompt that is a whole number of
blocks, responses within one another, responses shorter than a block. Every sum of these and of one group is compared
with a float64 loop of one row at a time. Prints the fastest of `--repeats`, and writes ratio_group8 (time whole / time
shared), max_abs_error (nats) and rescored (rows of the bad cases that were computed again). `must` of a case's rows
cannot be right as vLLM first gave them: they are rescored, or completed by their first token. vLLM computes with one
thread (`--threads`): threads that wait for each other measure the machine's other work.
"""

import argparse
import json
import math
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from logprob import make_model
from transformers import AutoModelForCausalLM

from persona_rm.backends.logprob.vllm_logprob import VllmLogProb, VllmOptions

Row = tuple[list[int], list[int]]
VOCABULARY = 4096


def draw_ids(draw: Random, size: int) -> list[int]:
    return draw.choices(range(2, VOCABULARY), k=size)


def draw_group(draw: Random, persona: int, response: int, size: int) -> list[Row]:
    """One prompt with `size` responses."""
    prompt = draw_ids(draw, persona)
    return [(prompt, draw_ids(draw, response)) for _ in range(size)]


def score(backend: VllmLogProb, rows: Sequence[Row], *, share: bool) -> tuple[float, list[float]]:
    """Seconds, and the sums."""
    backend.options = backend.options.model_copy(update={"share_prompts": share})
    started = time.perf_counter()
    found = backend.logprob_ids([prompt for prompt, _ in rows], [response for _, response in rows])
    return time.perf_counter() - started, [one.policy for one in found]


def one_by_one(net: Any, rows: Sequence[Row]) -> Iterator[float]:
    """The definition in float64, one row a pass."""
    for prompt, response in rows:
        ids = torch.tensor([*prompt, *response])
        with torch.inference_mode():
            logits = net(ids[None], logits_to_keep=len(response) + 1).logits[0, :-1]
        yield float(logits.log_softmax(-1).gather(1, ids[len(prompt) :, None]).sum())


def bad_cases(draw: Random, block: int) -> list[tuple[str, list[Row], int]]:
    """Name, rows of one call, and how many of them the cache spoils. The first two are the same rows twice."""
    group = draw_group(draw, 300, 2 * block, 3)
    long = draw_ids(draw, 3 * block)
    user = draw_ids(draw, 300)
    within = [(user, long[:size]) for size in (5, 2 * block, 3 * block)]
    return [
        ("new rows", group, 0),
        ("the same rows again", group, 3),
        ("a prompt of whole blocks", draw_group(draw, 3 * block, 40, 4), 3),
        ("responses within one another", within, 1),
        ("responses shorter than a block", draw_group(draw, 300, block // 8, 4), 0),
    ]


def check_bad_cases(backend: VllmLogProb, net: Any, block: int) -> tuple[float, int]:
    """The largest error in nats, and how many rows were rescored."""
    worst, total = 0.0, 0
    for name, rows, must in bad_cases(Random(1), block):
        before = replace(backend.counters)
        error = largest(score(backend, rows, share=True)[1], one_by_one(net, rows))
        rescored = backend.counters.rescored - before.rescored
        completed = backend.counters.completed - before.completed
        mended = f"{rescored} rescored, {completed} completed (must: {must} of {len(rows)})"
        print(f"{name:>30}: {mended}, largest error {error:.1e} nats")
        worst, total = max(worst, error if rescored + completed == must else math.inf), total + rescored
    return worst, total


def largest(found: Sequence[float], exact: Iterator[float]) -> float:
    return max(abs(x - y) for x, y in zip(found, exact, strict=True))


def measure(backend: VllmLogProb, net: Any, args: argparse.Namespace, block: int) -> dict[str, Any]:
    shared, whole, error = [], [], 0.0
    for repeat in range(args.repeats + 1):
        rows = draw_group(Random(100 + repeat), args.persona, args.response, args.group)
        first, again = score(backend, rows, share=True), score(backend, rows, share=False)
        if repeat == 0:  # the first pass warms the engine, and is the one that is checked
            error = max(largest(way[1], one_by_one(net, rows)) for way in (first, again))
            continue
        shared.append(first[0])
        whole.append(again[0])
    ratio = min(whole) / min(shared)
    print(f"whole {min(whole):.2f} s, shared {min(shared):.2f} s, ratio {ratio:.2f}")
    limit = args.group * (args.persona + args.response) / (args.persona + args.group * args.response)
    print(f"limit of this shape by tokens computed {limit:.2f}; largest error of a group {error:.1e} nats")
    bad, rescored = check_bad_cases(backend, net, block)
    return {"ratio_group8": ratio, "max_abs_error": max(error, bad), "rescored": rescored}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"persona": 2048, "response": 256, "group": 8, "hidden": 512, "layers": 4, "repeats": 3, "block": 128}
    sizes |= {"threads": 1}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"}
    os.environ.update(settings | {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": str(args.threads)})
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder), args.hidden, args.layers)
        net = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float64, trust_remote_code=False).eval()
        length = args.persona + args.response + 1
        options = VllmOptions(
            enforce_eager=True, block_size=args.block, max_model_len=length, gpu_memory_utilization=0.3
        )
        backend = VllmLogProb(model, dtype="float32", options=options)
        found = measure(backend, net, args, args.block)
        print(backend.counters)
        backend.close()
    if args.json:
        args.json.write_text(json.dumps(found))


if __name__ == "__main__":
    main()
