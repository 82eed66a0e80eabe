"""What annotating 90 dimensions costs against 1, through real vLLM, in one run (the paper: 10.20 s -> 16.21 s, 1.59).

    python tests/perf/annotate.py --json figures.json [--users 6] [--hidden 2048] [--layers 1]

As in the paper's measurement, a text is a user's history of 8 items, here of about 2,300 tokens together. All users
are annotated in one call. The model is a random Llama with a BPE tokenizer trained on the library's own texts, because
lengths determine the time and weights do not. Options are chosen by the model. JSON answers are imposed, because a
random model would name dimensions without end; they name `--named` of 90 dimensions each, the same share of 1. The
prefix cache is emptied before each row and then filled by another text, so that it holds what all texts share
(instructions, examples, the list of dimensions), as in a long job.

Rows: `questions` (one prompt per dimension), `json` and `compact` (one prompt per text), over 1 and 90 dimensions;
over 90 dimensions `questions` annotates `--few` users only. `no cache`: full prompts that do not read the cache, one
user, 10 of the 90 dimensions, times 9. Seconds are CPU seconds of this process and the engine's, one thread of
mathematics, per user, of the cheapest of `--repeats`: wall time of a shared machine says little (it is in the JSON).
`ratio`: over `questions` with 1 dimension; `own`: over the same form with 1.

The model is wide and shallow: attention over the context costs 2 C / (13 h) of the products with weights (C context
tokens, h hidden size), which is 0.15 for the paper's 14 billion (h = 5120) at C = 5,000, and many times that in a
small deep model, where a long prefix would look dear.
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from random import Random

import psutil

from persona_rm.annotators.base import WARM
from persona_rm.annotators.cost import Cost
from persona_rm.annotators.llm import LlmAnnotator, LlmAnnotatorConfig
from persona_rm.annotators.prompted import AskingAnnotator, cost_of
from persona_rm.annotators.wording import PACKAGED, written
from persona_rm.backends.base import Backends, Generation
from persona_rm.backends.vllm_engine import VllmConfig, VllmGenerator
from persona_rm.space import PreferenceSpace, load_space
from persona_rm.types import Comment

GOAL, PAPER = 1.3, 16.21 / 10.20
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "3",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
"""One thread: with two, waiting for the other one counts as CPU time. Read by vLLM when it starts."""


class Imposed(VllmGenerator):
    """vLLM whose JSON answers are given: the grammar allows `answer` only, token by token."""

    answer = "[]"
    spent = Cost()

    def generate(self, prompts, *, max_tokens, schema=None, choices=None) -> list[Generation]:
        choices = choices if schema is None else [self.answer]
        found = super().generate(prompts, max_tokens=max_tokens, choices=choices)
        self.spent = sum(map(cost_of, found), Cost())
        return found


class Uncached(Imposed):
    """The same engine, whose requests do not read the cache."""

    def _sampling(self, max_tokens, schema, choices):
        sampling = super()._sampling(max_tokens, schema, choices)
        sampling.skip_reading_prefix_cache = True
        return sampling


def make_model(folder: Path, space: PreferenceSpace, hidden: int, layers: int) -> str:
    """A random Llama and a tokenizer of the library's texts."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    raw = Tokenizer(models.BPE())
    digits = pre_tokenizers.Digits(individual_digits=True)
    raw.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    raw.decoder, alphabet = decoders.ByteLevel(), pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=8000, special_tokens=["<pad>", "</s>"], initial_alphabet=alphabet)
    raw.train_from_iterator(
        [PACKAGED.read_text(), *sentences(space), *(d.question for d in space.dimensions)], trainer
    )
    PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="</s>", pad_token="<pad>").save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": hidden, "intermediate_size": 3 * hidden, "num_hidden_layers": layers}
    ends = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    sizes |= {"num_attention_heads": hidden // 128, "num_key_value_heads": max(1, hidden // 512)}
    config = LlamaConfig(**sizes, max_position_embeddings=8192, vocab_size=8000, **ends)
    LlamaForCausalLM(config).save_pretrained(folder)
    return str(folder)


def sentences(space: PreferenceSpace) -> list[str]:
    """First-person sentences: what the poles' descriptions say."""
    return [text for d in space.dimensions for pole in (d.positive, d.negative) for text in pole.descriptions]


def history(space: PreferenceSpace, draw: Random, items: int, length: int) -> str:
    """A user's items, each a post and a comment, `length` characters together."""
    pool, out = sentences(space), []
    for number in range(1, items + 1):
        text = ""
        while len(text) < length / items:
            text += draw.choice(pool) + " "
        out.append(f"Item {number}. Post: {text[: len(text) // 2]}\nComment: {text[len(text) // 2 :]}")
    return "\n\n".join(out)


def named(space: PreferenceSpace, form: str, share: float) -> str:
    """An answer that names this share of the dimensions, spread over all."""
    count = round(share * len(space))
    places = [i * len(space) // count for i in range(count)] if count else []
    levels = {place: 3 if i % 3 else 1 for i, place in enumerate(places)}
    return written(levels, {"3": 3, "1": 1} if form == "json" else {"+": 3, "-": 1}, form)


def cpu_seconds() -> float:
    """Of this process and its children, the engine among them."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return sum(t.user + t.system for t in times)


def measure(annotator: AskingAnnotator, texts: list[str], repeats: int = 1) -> dict[str, float]:
    """Per text: CPU and wall seconds, and tokens; the cheapest of `repeats` runs.

    Each from a cache that holds what all texts share and nothing else."""
    return min((run(annotator, texts) for _ in range(repeats)), key=lambda found: found["seconds"])


def run(annotator: AskingAnnotator, texts: list[str]) -> dict[str, float]:
    annotator.generator._engine.reset_prefix_cache()
    annotator.read([""], [WARM])
    comments = [Comment(str(i), text) for i, text in enumerate(texts)]
    wall, cpu = time.perf_counter(), cpu_seconds()
    readings = annotator.read([""] * len(texts), comments)
    spent = Cost(seconds=cpu_seconds() - cpu) + annotator.generator.spent
    assert not any(reading.error for reading in readings), {reading.error for reading in readings}
    return {key: n / len(texts) for key, n in {**asdict(spent), "wall": time.perf_counter() - wall}.items()}


def plan(args: argparse.Namespace, space: PreferenceSpace) -> list[tuple[str, PreferenceSpace, int, int]]:
    """(form, dimensions, named of 90, users) of each row."""
    one = PreferenceSpace("one", space.dimensions[3:4])
    out = [("questions", one, 0, args.users), ("questions", space, 0, args.few)]
    for form in ("json", "compact"):
        out += [(form, one, 8, args.users), *((form, space, k, args.users) for k in args.named)]
    return out


def rows(args: argparse.Namespace, space: PreferenceSpace, engine: Imposed) -> list[dict[str, object]]:
    """One row per form and number of dimensions; the last is without a cache."""
    texts = [history(space, Random(i), 8, args.characters) for i in range(args.users)]
    out: list[dict[str, object]] = []
    run(
        LlmAnnotator(LlmAnnotatorConfig(max_chars=10**6), space, Backends(generator=engine)), ["Hello."]
    )  # the first is slow
    for form, part, k, users in plan(args, space):
        engine.answer = "" if form == "questions" else named(part, form, k / 90)
        config = LlmAnnotatorConfig(form=form, max_chars=10**6, max_answer_tokens=600)
        found = measure(LlmAnnotator(config, part, Backends(generator=engine)), texts[:users], args.repeats)
        out.append({"form": form, "dimensions": len(part), "named": k, **found})
        print(json.dumps(out[-1]), flush=True)
    uncached = Uncached(engine.config)
    uncached.__dict__["_engine"] = engine._engine
    part = PreferenceSpace("ten", space.dimensions[::9])
    found = measure(LlmAnnotator(LlmAnnotatorConfig(max_chars=10**6), part, Backends(generator=uncached)), texts[:1])
    times = len(space) / len(part)
    row = {"form": "questions, no cache", "dimensions": 90, "named": 0}
    return [*out, row | {key: n * times for key, n in found.items()}]


def with_ratios(found: list[dict[str, object]]) -> list[dict[str, object]]:
    """Each row over one question, and over its own form with one dimension."""
    own = {row["form"]: row["seconds"] for row in found if row["dimensions"] == 1}
    base = own["questions"]
    return [
        {**row, "ratio": row["seconds"] / base, "own": row["seconds"] / own.get(row["form"], base)} for row in found
    ]


def show(found: list[dict[str, object]]) -> None:
    print(
        f"\n{'form':<21}{'dims':>5}{'named':>6}{'CPU s':>8}{'ratio':>8}{'own':>7}{'prompt':>9}{'cached':>9}{'out':>6}"
    )
    for row in found:
        tokens = [row[key] for key in ("prompt_tokens", "cached_tokens", "output_tokens")]
        print(
            f"{row['form']:<21}{row['dimensions']:>5}{row['named']:>6}{row['seconds']:>8.2f}{row['ratio']:>8.2f}"
            f"{row['own']:>7.2f}{tokens[0]:>9.0f}{tokens[1]:>9.0f}{tokens[2]:>6.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    sizes = {"users": 6, "few": 1, "repeats": 1, "hidden": 2048, "layers": 1, "characters": 9000, "block-size": 32}
    for name, default in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--named", type=int, nargs="+", default=[8, 27])
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    for key, value in ENVIRONMENT.items():
        os.environ.setdefault(key, value)
    space, started = load_space(), time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        model = make_model(Path(folder), space, args.hidden, args.layers)
        more = {"enforce_eager": True, "block_size": args.block_size, "distributed_executor_backend": "uni"}
        engine = Imposed(VllmConfig(model=model, dtype="float32", gpu_memory_utilization=0.5, **more))
        found = with_ratios(rows(args, space, engine))
        engine.close()
    show(found)
    for k in args.named:
        best = min((row for row in found if row["named"] == k and row["dimensions"] > 1), key=lambda row: row["ratio"])
        print(f"{k} named, best: {best['form']}, ratio {best['ratio']:.2f}; goal {GOAL}, paper {PAPER:.2f}")
    print(f"{args.users} users, {args.layers} layers of {args.hidden}; {time.perf_counter() - started:.0f} s in all")
    if args.json:
        settings = {key: value for key, value in vars(args).items() if key != "json"}
        args.json.write_text(json.dumps({"goal": GOAL, "paper": PAPER, "settings": settings, "rows": found}, indent=1))


if __name__ == "__main__":
    main()
