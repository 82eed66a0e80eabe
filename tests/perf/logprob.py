"""Log-probabilities in batches, with shared and with kept prompts, against one sequence per forward pass, in one run.

    python tests/perf/logprob.py [--requests 24] [--responses 4] [--persona 400]

A request is a user's prompt (persona and post) with several responses, as a PPO group is. Prints seconds (best of
`--repeats`, warmed: kept prompts were seen before), sequences per second, the ratio, and the largest difference from
one by one in nats.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from persona_rm.backends.base import SequenceLogProb
from persona_rm.backends.logprob.transformers_logprob import TransformersLogProb


def make_model(folder: Path, hidden: int, layers: int) -> Path:
    """A random Llama over bytes: one token per letter, and a vocabulary of 4,096 so that the head has a cost."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={"<pad>": 0, "</s>": 1} | {c: i + 2 for i, c in enumerate(alphabet)}, merges=[]))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    raw.add_special_tokens(["<pad>", "</s>"])
    sizes = {"hidden_size": hidden, "intermediate_size": 2 * hidden, "num_hidden_layers": layers}
    config = LlamaConfig(**sizes, num_attention_heads=4, vocab_size=4096, max_position_embeddings=8192)
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", pad_token="<pad>").save_pretrained(folder)
    return folder


def texts(requests: int, responses: int, persona: int) -> tuple[list[str], list[str]]:
    """Rows grouped by prompt; lengths vary by half around their mean."""
    draw = Random(0)

    def text(mean: int) -> str:
        return "".join(draw.choices("etaoin shrdlu", k=draw.randint(mean // 2, mean * 3 // 2)))

    prompts = [text(persona) + "\n\n" for _ in range(requests)]
    return [prompt for prompt in prompts for _ in range(responses)], [text(60) for _ in range(requests * responses)]


def best(run: Callable[[], list[SequenceLogProb]], repeats: int) -> tuple[float, list[SequenceLogProb]]:
    """Seconds of the fastest of `repeats` runs, and what it gave."""
    run()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        found = run()
        times.append(time.perf_counter() - started)
    return min(times), found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"requests": 24, "responses": 4, "persona": 400, "hidden": 128, "layers": 4, "repeats": 3}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--batch-tokens", type=int, default=8192)
    args = parser.parse_args()
    prompts, responses = texts(args.requests, args.responses, args.persona)
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder), args.hidden, args.layers)
        base: tuple[float, list[SequenceLogProb]] | None = None
        for name, budget, share, kept in (
            ("one by one", 1, False, 0),
            ("batched", None, False, 0),
            ("shared prompts", None, True, 0),
            ("kept prompts", None, True, 2**30),
        ):
            sizes = {"batch_tokens": budget or args.batch_tokens, "cache_bytes": kept}
            backend = TransformersLogProb(model, model, share_prompts=share, **sizes)
            found = best(lambda backend=backend: backend.logprob(prompts, responses), args.repeats)
            base = base or found
            print(line(name, found, base))
    print(f"{torch.get_num_threads()} threads; a sequence counts once, under policy and reference")


def line(name: str, found: tuple[float, list[SequenceLogProb]], base: tuple[float, list[SequenceLogProb]]) -> str:
    worst = max(abs(x.policy - y.policy) for x, y in zip(found[1], base[1], strict=True))
    speed = f"{found[0]:7.2f} s, {len(found[1]) / found[0]:7.1f} sequences/s"
    return f"{name:>14}: {speed}, ratio {base[0] / found[0]:5.2f}, largest difference {worst:.1e} nats"


if __name__ == "__main__":
    main()
