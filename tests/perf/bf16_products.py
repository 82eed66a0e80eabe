"""A step of training in bf16, OpenRLHF's dtype, with matrix products in float32 (as the rehearsal does them on a CPU
that cannot multiply bf16) against torch's own, in one run.

    python tests/perf/bf16_products.py [--rows 8] [--tokens 256]

Prints seconds a step (best of 3, warmed), the ratio, and how far the two gradients are apart, relative to their norm.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from transformers import AutoModelForCausalLM

from persona_rm.hosts.common import where
from persona_rm.pipeline.members import model_folder

sys.path.insert(0, str(where("openrlhf", "rehearsal")))
from cpu_rehearsal.bf16_products import in_float32

NAMES = ("linear", "scaled_dot_product_attention")


@contextmanager
def patched() -> Iterator[None]:
    functional = torch.nn.functional
    own = {name: getattr(functional, name) for name in NAMES}
    for name, function in own.items():
        setattr(functional, name, in_float32(function, torch))
    try:
        yield
    finally:
        for name, function in own.items():
            setattr(functional, name, function)


def gradient(model: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    model.zero_grad()
    model(input_ids=ids, labels=ids).loss.backward()
    return torch.cat([p.grad.float().flatten() for p in model.parameters()])


def measure(model: torch.nn.Module, ids: torch.Tensor) -> tuple[float, torch.Tensor]:
    found, seconds = gradient(model, ids), []
    for _ in range(3):
        started = time.perf_counter()
        gradient(model, ids)
        seconds.append(time.perf_counter() - started)
    return min(seconds), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=256)
    options = parser.parse_args()
    model = AutoModelForCausalLM.from_pretrained(
        model_folder("simulator_lm"), dtype=torch.bfloat16, attn_implementation="sdpa", trust_remote_code=False
    )
    torch.manual_seed(0)
    ids = torch.randint(5, model.config.vocab_size, (options.rows, options.tokens))
    theirs, wanted = measure(model, ids)
    with patched():
        ours, found = measure(model, ids)
    apart = float((found - wanted).norm() / wanted.norm())
    native = torch.ops.mkldnn._is_mkldnn_bf16_supported()
    print(
        f"this CPU multiplies bf16: {native}; torch {theirs:.2f} s a step, products in float32 {ours:.2f} s; ", end=""
    )
    print(f"ratio {theirs / ours:.1f}; gradients {apart:.1e} apart")


if __name__ == "__main__":
    main()
