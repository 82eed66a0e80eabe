"""Make a small starting model from nothing: a byte-level BPE tokenizer and a Llama of a few million parameters.

No weights can be fetched where the product is tried first, so it brings a model that it made itself, on the language
of the embedded world (`world/corpus.py`). Documents are written as the host's DPO data is: prompt, response, a space,
end of text. The weights train in float32 under bf16 autocast and are stored in bf16, as the host loads them.
"""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

from pydantic import Field

from persona_rm.config import Config
from persona_rm.prompts import load_prompts
from persona_rm.space import load_space
from persona_rm.world.corpus import FOLLOWING, Document, documents
from persona_rm.world.world import World, WorldConfig

EOS, PAD = "</s>", "<pad>"
CHUNK = 256
"""Documents that one worker makes at a time."""
Row = tuple[int, list[int]]
"""How many tokens are given, and all tokens."""


class PretrainConfig(Config):
    """The model and how long it reads. Defaults made the packaged model, in three quarters of an hour on 2 cores."""

    hidden: int = Field(192, multiple_of=32)
    layers: int = 4
    heads: int = 3
    vocab: int = 2048
    context: int = 4096
    """What the model may be asked to read; histories of real people are longer than what it was trained on."""
    max_tokens: int = 1536
    """Documents longer than this are left out, and counted."""
    steps: int = Field(6800, gt=0)
    batch_tokens: int = 4096
    lr: float = 4e-3
    """Adam's peak rate, for embeddings and norms. Rates fall in a line over the second half."""
    muon_lr: float = 0.01
    """Muon's peak rate, for the weight matrices: it learns in fewer steps than Adam, which is what a CPU lacks."""
    warmup: int = 50
    threads: int = Field(2, gt=0)
    workers: int = 1
    tokenizer_documents: int = 3000
    save_every: int = 200
    """Weights are written so often; a killed run leaves the last ones."""
    compile: bool = False
    """`torch.compile`: 1.5 times as fast on a CPU, after a minute of compiling; needs a C++ compiler."""


def pretrain(config: PretrainConfig, world: WorldConfig, prompts: str, space: str, seed: int, folder: Path,
             progress: Callable[[int, str], None]) -> dict[str, Any]:  # fmt: skip
    """Train tokenizer and model, save both into `folder`, return what was done (also in training.json).

    `progress(step, text)` is told now and then. Deterministic on one machine under a seed.
    """
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(config.threads)
    make = partial(texts, world, prompts, space, seed)
    names = [
        pole.label for dimension in load_space(space).dimensions for pole in (dimension.negative, dimension.positive)
    ]
    tokenizer = train_tokenizer(make(FOLLOWING, config.tokenizer_documents), config, names)
    model = _new_model(config, tokenizer)
    started, losses, tokens, skipped = time.time(), [], 0, 0
    device = "cuda" if torch.cuda.is_available() else "cpu"
    step = _trainer(model.to(device), config, device)
    for number, (ids, skipped) in enumerate(_batches(make, tokenizer, config)):  # noqa: B007
        losses.append(step(number, ids))
        tokens += sum(len(row) for _, row in ids)
        if number % 20 == 0 or number + 1 == config.steps:
            progress(number + 1, f"loss {losses[-1]:.3f}, {tokens / 1e6:.1f} M tokens")
        if (number + 1) % config.save_every == 0 or number + 1 == config.steps:
            _save(model, tokenizer, folder)
        if number + 1 == config.steps:
            break
    report = {
        "config": config.model_dump(), "world": world.model_dump(), "prompts": prompts, "space": space, "seed": seed,
        "tokens": tokens, "documents_too_long": skipped, "seconds": round(time.time() - started), "device": device,
        "last_loss": sum(losses[-20:]) / len(losses[-20:]), "parameters": sum(p.numel() for p in model.parameters()),
    }  # fmt: skip
    (folder / "training.json").write_text(json.dumps(report, indent=2) + "\n")
    return report


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    import torch

    weights = {name: tensor.detach().to("cpu", torch.bfloat16) for name, tensor in model.state_dict().items()}
    del weights["lm_head.weight"]  # the embedding, tied: no need to store it twice
    model.config.dtype = "bfloat16"
    model.save_pretrained(folder, state_dict=weights)
    tokenizer.save_pretrained(folder)


def texts(world: WorldConfig, prompts: str, space: str, seed: int, start: int, count: int) -> list[Document]:
    """Documents of the corpus: what is given, and what the model reads, ended as the host ends a response."""
    corpus = documents(World(world, load_space(space)), load_prompts(prompts), seed, count, start)
    return [(given, f"{read} {EOS}") for given, read in corpus]


def train_tokenizer(corpus: list[Document], config: PretrainConfig, names: Sequence[str] = ()) -> Any:
    """A byte-level BPE: it spells any text, knows the words of the world, and has one token for each of `names`.

    The names are those of the poles: so small a model would spend most of its reading on telling "Likes" from
    "Dislikes" in a list of ten.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    # Line ends are single tokens, so that a prompt has the same tokens alone and with an answer behind it.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split("\n", "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab, special_tokens=[PAD, EOS], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator((given + read.removesuffix(EOS) for given, read in corpus), trainer)
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in names])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=EOS, pad_token=PAD, model_max_length=config.context
    )


def _new_model(config: PretrainConfig, tokenizer: Any) -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=config.hidden, intermediate_size=config.hidden * 11 // 4 // 32 * 32,
            num_hidden_layers=config.layers, num_attention_heads=config.heads, num_key_value_heads=config.heads,
            max_position_embeddings=config.context, tie_word_embeddings=True, bos_token_id=None,
            eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
            attn_implementation="eager",
        )
    )  # fmt: skip


def _trainer(model: Any, config: PretrainConfig, device: str) -> Callable[[int, list[Row]], float]:
    import torch

    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers = [
        torch.optim.Muon(matrices, lr=config.muon_lr, weight_decay=0.0, momentum=0.95),
        torch.optim.AdamW(others, lr=config.lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]
    hidden = torch.compile(model.model, dynamic=True) if config.compile else model.model

    def step(number: int, rows: list[Row]) -> float:
        rate = min(1.0, (number + 1) / config.warmup, 2 * (1 - number / config.steps))
        for optimizer, peak in zip(optimizers, (config.muon_lr, config.lr), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * max(rate, 0.02)
        width = max(len(row) for _, row in rows)
        ids = torch.tensor([row + [model.config.pad_token_id] * (width - len(row)) for _, row in rows], device=device)
        read = torch.tensor(
            [[False] * n + [True] * (len(row) - n) + [False] * (width - len(row)) for n, row in rows], device=device
        )[:, 1:]  # padding is on the right, where nothing that is read attends
        with torch.autocast(device, dtype=torch.bfloat16):
            logits = model.lm_head(hidden(input_ids=ids).last_hidden_state[:, :-1][read])
        loss = torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][read])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    return step


def _batches(
    make: Callable[[int, int], list[Document]], tokenizer: Any, config: PretrainConfig
) -> Iterator[tuple[Any, int]]:
    """Batches of about `batch_tokens` padded tokens, documents of like length together; and how many were too long
    yet."""
    pool: list[Row] = []
    skipped = 0
    with get_context("spawn").Pool(config.workers) as workers:
        starts = iter(range(0, 2**62, CHUNK))
        for chunk in _imap(workers, partial(_made, make), starts, config.workers * 3):
            given = tokenizer([given or EOS for given, _ in chunk])["input_ids"]
            whole = tokenizer([given + read for given, read in chunk])["input_ids"]
            rows = [(len(g) if text else 0, w) for g, w, (text, _) in zip(given, whole, chunk, strict=True)]
            pool += [row for row in rows if len(row[1]) <= config.max_tokens]
            skipped += sum(len(row[1]) > config.max_tokens for row in rows)
            if sum(len(row[1]) for row in pool) > 16 * config.batch_tokens:
                yield from ((batch, skipped) for batch in _bucket(pool, config.batch_tokens))
                pool = []


def _made(make: Callable[[int, int], list[Document]], start: int) -> list[Document]:
    return make(start, CHUNK)


def _imap(
    workers: Any, work: Callable[[int], list[Document]], starts: Iterator[int], ahead: int
) -> Iterator[list[Document]]:
    """Like `imap`, but only `ahead` chunks in advance: the corpus is endless."""
    waiting = [workers.apply_async(work, (next(starts),)) for _ in range(ahead)]
    while True:
        yield waiting.pop(0).get()
        waiting.append(workers.apply_async(work, (next(starts),)))


def _bucket(rows: list[Row], batch_tokens: int) -> Iterator[list[Row]]:
    rows = sorted(rows, key=lambda row: len(row[1]))
    batches: list[list[Row]] = [[]]
    for row in rows:
        if batches[-1] and (len(batches[-1]) + 1) * len(row[1]) > batch_tokens:
            batches.append([])
        batches[-1].append(row)
    Random(len(rows)).shuffle(batches)
    yield from batches
