"""Two processes that generate at the same time: every core for each of them, against cores that they share.

    python tests/perf/threads.py [--processes 2] [--tokens 400] [--json FILE]

Each process decodes with a language model in the shape of one of 135 M parameters (random weights), where threads
wait for each other most often. `all` leaves torch's default, `shared` sets the variables of `persona_rm.threads`, and
`one` gives each process one thread. `ratio` is the tokens per second of `shared` over those of `all`; `of_one` is that
of `shared` over `one`, and the goal is 0.8 or more.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path


def child(tokens: int) -> None:
    """Prints a line when it is ready, waits for one, decodes, and prints its tokens per second."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = {"hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 9}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=8192, num_key_value_heads=3, **shape)).eval()
    prompt = torch.arange(16)[None]
    options = {"do_sample": False, "eos_token_id": None, "pad_token_id": 0}
    model.generate(prompt, max_new_tokens=4, **options)
    print("ready", flush=True)
    sys.stdin.readline()
    started = time.perf_counter()
    model.generate(prompt, max_new_tokens=tokens, min_new_tokens=tokens, **options)
    print(tokens / (time.perf_counter() - started), flush=True)


def run(processes: int, tokens: int, variables: dict[str, str]) -> float:
    """Tokens per second of all processes together."""
    env = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | variables
    command = [sys.executable, __file__, "--child", "--tokens", str(tokens)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    running = [subprocess.Popen(command, env=env, **pipes) for _ in range(processes)]
    for one in running:
        assert one.stdout.readline() == "ready\n"
    for one in running:
        one.stdin.write("go\n")
        one.stdin.flush()
    return sum(float(one.communicate()[0]) for one in running)


def main() -> None:
    from persona_rm.threads import cores, thread_variables

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=400)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", action="store_true")
    args = parser.parse_args()
    if args.child:
        child(args.tokens)
        return
    shared = thread_variables(args.processes, {})
    kinds = {"all": {}, "shared": shared, "one": {"OMP_NUM_THREADS": "1"}}
    speeds = {kind: run(args.processes, args.tokens, variables) for kind, variables in kinds.items()}
    figures = {"cores": cores(), **speeds, "ratio": speeds["shared"] / speeds["all"]}
    figures["of_one"] = speeds["shared"] / speeds["one"]
    print(", ".join(f"{key} {value:,.2f}" for key, value in figures.items()))
    if args.json:
        args.json.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
