"""One user, many responses: shared and cached beginnings against full padded sequences, in one run, on one model.

    python tests/perf/prefix.py [--json FILE] [--hidden 2048] [--layers 1] [--device cuda --dtype bfloat16]
    python tests/perf/prefix.py --shape llama-3.1-8b --device cuda --dtype bfloat16

`group8`: one prompt (the persona, 2,048 tokens) with 8 responses of 256, nothing cached. `user8`: 8 new prompts (24 to
40 tokens) of one user whose persona is cached, one response each. The other side is OpenRLHF's `serve_rm` way
(cli/serve_rm.py: all queries at once, padded on the left), with a causal LM: logits of all positions; "lean" is the
same with logits of the response positions only; "single" (on demand) is lean with a row at a time, so without padding.
Seconds are the best of `--repeats`, taken in turns. The limit is that of the counted operations (products with
weights, attention, head): a ratio above it says that the other side also runs them at a lower rate. The error is the
largest difference of a sum from float64, one row at a time, in nats. The weights are random.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from persona_rm.backends.logprob.causal import inspect
from persona_rm.backends.logprob.transformers_logprob import TransformersLogProb

Rows = tuple[list[list[int]], list[list[int]]]
"""Ids of prompts and of responses."""
LLAMA_8B = {"hidden": 4096, "layers": 32, "intermediate": 14336, "vocabulary": 128256, "heads": 32, "key_heads": 8}


def make_model(args: argparse.Namespace) -> LlamaForCausalLM:
    """A random Llama. The default is a narrow one of the 8B's proportions: head width, key heads, MLP, vocabulary."""
    sizes = {"hidden_size": args.hidden, "intermediate_size": args.intermediate, "num_hidden_layers": args.layers}
    heads = {"num_attention_heads": args.heads, "num_key_value_heads": args.key_heads, "head_dim": 128}
    context = {"vocab_size": args.vocabulary, "max_position_embeddings": args.persona + args.response + 256}
    torch.manual_seed(0)
    torch.set_default_dtype(getattr(torch, args.dtype))
    with torch.device(args.device):
        net = LlamaForCausalLM(LlamaConfig(**sizes, **heads, **context)).eval()
    torch.set_default_dtype(torch.float32)
    return net


def backend_of(net: LlamaForCausalLM, args: argparse.Namespace) -> TransformersLogProb:
    """The library's backend over a model in memory."""
    backend = TransformersLogProb("", dtype=args.dtype, batch_tokens=args.batch_tokens, cache_bytes=4 * 2**30)
    net.set_attn_implementation("sdpa")
    backend._models = (inspect(net),)
    return backend


def padded(net: LlamaForCausalLM, rows: Rows, *, lean: bool) -> list[float]:
    """serve_rm's batch through a causal LM."""
    whole = [prompt + response for prompt, response in zip(*rows, strict=True)]
    width = max(map(len, whole))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in whole], device=net.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in whole], device=net.device)
    keep = max(map(len, rows[1])) + 1
    before = net.config._attn_implementation
    net.set_attn_implementation("sdpa")
    with torch.inference_mode():
        logits = net(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=keep if lean else 0).logits
        logits = logits[:, -keep:-1]
        logits = logits.float() if logits.element_size() < 4 else logits
        targets = ids[:, 1 - keep :]
        found = logits.gather(2, targets[..., None])[..., 0] - logits.logsumexp(2)
        sums = [float(row[-len(r) :].double().sum()) for row, r in zip(found, rows[1], strict=True)]
    net.set_attn_implementation(before)
    return sums


def single(net: LlamaForCausalLM, rows: Rows) -> list[float]:
    """One row at a time."""
    return [padded(net, ([p], [r]), lean=True)[0] for p, r in zip(*rows, strict=True)]


def timed(run: Callable[[], object], device: str) -> float:
    started = time.perf_counter()
    run()
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def group(args: argparse.Namespace, draw: Random) -> Rows:
    prompt = ids_of(args.persona, args, draw)
    return [prompt] * 8, [ids_of(args.response, args, draw) for _ in range(8)]


def user(persona: list[int], args: argparse.Namespace, draw: Random) -> Rows:
    prompts = [persona + ids_of(args.prompt + draw.randint(-8, 8), args, draw) for _ in range(8)]
    return prompts, [ids_of(args.response, args, draw) for _ in range(8)]


def ids_of(length: int, args: argparse.Namespace, draw: Random) -> list[int]:
    return [draw.randrange(args.vocabulary) for _ in range(length)]


def work(args: argparse.Namespace, runs: Sequence[tuple[int, int, int]]) -> float:
    """Operations of (tokens before, tokens run, tokens projected) per row."""
    width = args.heads * 128
    layer = 2 * args.hidden * (2 * width + 2 * args.key_heads * 128 + 3 * args.intermediate)
    linear = sum(run for _, run, _ in runs) * layer
    attention = sum(run * before + run * run / 2 for before, run, _ in runs) * 4 * width
    return args.layers * (linear + attention) + 2 * args.hidden * args.vocabulary * sum(head for *_, head in runs)


@dataclass(frozen=True)
class Case:
    """Rows of every repeat, and per row what must be run: (tokens before, tokens run, tokens projected)."""

    name: str
    rows: Callable[[int], Rows]
    needed: list[tuple[int, int, int]]
    naive: list[tuple[int, int]]
    """Per row: all tokens, response tokens."""


def cases(args: argparse.Namespace) -> tuple[list[int], list[Case]]:
    """The persona, and both cases; the prompts of a repeat are new."""
    persona, p, r = ids_of(args.persona, args, Random(1001)), args.persona, args.response
    lengths = [len(prompt) - p for prompt in user(persona, args, Random(0))[0]]
    group8 = Case(
        "group8", lambda i: group(args, Random(i)), [(0, p - 1, 0)] + [(p - 1, r + 1, r)] * 8, [(p + r, r)] * 8
    )
    needed, naive = [(p, x + r, r) for x in lengths], [(p + x + r, r) for x in lengths]
    return persona, [group8, Case("user8", lambda i: user(persona, args, Random(i)), needed, naive)]


def measure(case: Case, net: LlamaForCausalLM, ours: TransformersLogProb, args: argparse.Namespace) -> float:
    """Prints the ratios of one case, and gives that to the padded way."""
    ways: dict[str, Callable[[Rows], object]] = {
        "shared": lambda rows: ours.logprob_ids(*rows),
        "padded": lambda rows: padded(net, rows, lean=False),
        "lean": lambda rows: padded(net, rows, lean=True),
    }
    if args.single:
        ways["single"] = lambda rows: single(net, rows)
    warm = tuple([row[-64:] for row in part[:2]] for part in case.rows(0))
    for run in ways.values():
        run(warm)
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    for repeat in range(args.repeats):
        rows = case.rows(repeat + 1)
        for way, run in ways.items():
            seconds[way].append(timed(lambda run=run, rows=rows: run(rows), args.device))
    best = {way: min(taken) for way, taken in seconds.items()}
    print(f"{case.name}: " + ", ".join(f"{way} {taken:.3f} s" for way, taken in best.items()), flush=True)
    for way in [way for way in ways if way != "shared"]:
        head = [(0, whole, whole if way == "padded" else r) for whole, r in case.naive]
        limit = work(args, head) / work(args, case.needed)
        print(f"  against {way}: ratio {best[way] / best['shared']:.2f}, limit of this shape {limit:.2f}", flush=True)
    return best["padded"] / best["shared"]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"persona": 2048, "prompt": 32, "response": 256, "hidden": 2048, "layers": 1, "heads": 16, "key_heads": 4}
    sizes |= {"intermediate": 7168, "vocabulary": 2048, "repeats": 2, "check": 3, "batch_tokens": 8192, "threads": 0}
    for name, default in sizes.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    parser.add_argument("--shape", choices=["llama-3.1-8b"])
    parser.add_argument("--single", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16", "float16"])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    if args.shape:
        vars(args).update(LLAMA_8B)
    if args.threads:
        torch.set_num_threads(args.threads)
    return args


def main() -> None:
    args = parsed()
    net = make_model(args)
    ours = backend_of(net, args)
    persona, both = cases(args)
    ours.logprob_ids(*user(persona, args, Random(1002)))  # two prompts of one user: from now on the persona is kept
    found = {f"ratio_{case.name}": measure(case, net, ours, args) for case in both}
    checks = [tuple(part[: args.check] for part in case.rows(1)) for case in both]
    sums = [one.policy for rows in checks for one in ours.logprob_ids(*rows)]
    print(f"counters: {ours.counters}")
    del ours
    net = net.double() if args.check else net
    truth = [value for rows in checks for value in single(net, rows)]
    if truth:
        found["max_abs_error"] = max(abs(a - b) for a, b in zip(sums, truth, strict=True))
        mean = sum(map(abs, truth)) / len(truth)
        print(f"max_abs_error {found['max_abs_error']:.1e} nats, of sums of {mean:.0f} nats, {len(truth)} rows")
    print(f"{torch.get_num_threads()} threads, {args.device}, {args.dtype}")
    if args.json:
        args.json.write_text(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
