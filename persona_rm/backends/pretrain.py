"""Make a small starting model from nothing: a byte-level BPE tokenizer and a Llama of a few million parameters; or
read on with a model that there is.

No weights can be fetched where the product is tried first, so it brings a model that it made itself, on the language
of the embedded world (`world/corpus.py`). Documents are written as the host's DPO data is: prompt, response, a space,
end of text. The weights train in float32, under bf16 autocast where the machine multiplies bf16, and are stored
in bf16, as the host loads them.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import count
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any, Self

from pydantic import Field, model_validator

from persona_rm.backends.pretrained import from_folder
from persona_rm.config import Config
from persona_rm.io.json_rows import atomic
from persona_rm.prompts import load_prompts
from persona_rm.simulator.corpus import ENDS, FOLLOWING, PHASES, Document, documents
from persona_rm.simulator.simulator import Simulator, SimulatorConfig
from persona_rm.space import load_space

EOS, PAD = "</s>", "<pad>"
CHUNK = 256
"""Documents that one worker makes at a time."""
STATE = "state.safetensors"
"""Beside the model while it trains: what a killed run goes on from."""
TrainingRow = tuple[int, list[int]]
"""How many tokens are given, and all tokens."""


class PretrainConfig(Config):
    """The model and how long it reads. Defaults made the packaged model's reader, in three quarters of an hour on 2
    cores."""

    start: str | None = None
    """A model to go on from, a folder or `simulator_lm`; None: from nothing. Its size and its tokenizer stay."""
    phase: int = Field(0, ge=0, lt=len(PHASES))
    """The phase of the corpus that reading begins with, counted from 0 (`world/corpus.py`)."""
    hidden: int = Field(192, multiple_of=32)
    layers: int = 4
    heads: int = 3
    vocab: int = 2048
    context: int = 4096
    """What the model may be asked to read; histories of real people are longer than what it was trained on."""
    max_tokens: int = 1536
    """Documents longer than this are left out, and counted."""
    steps: int = Field(6200, gt=0)
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
    """Steps between two states on disk; a killed run goes on from the last one."""
    compile: bool = False
    """`torch.compile`: 1.5 times as fast on a CPU, after a minute of compiling; needs a C++ compiler."""

    @model_validator(mode="after")
    def _sizes_are_of_a_new_model(self) -> Self:
        sizes = ("context", "heads", "hidden", "layers", "tokenizer_documents", "vocab")
        fields = type(self).model_fields
        idle = [key for key in sizes if getattr(self, key) != fields[key].default]
        if self.start and idle:
            raise ValueError(f"{', '.join(idle)}: of a new model; with `start` the model is the one it names")
        return self


@dataclass
class _Done:
    """How far a training is. `chunk` is the first of the documents that are not read yet."""

    steps: int = 0
    chunk: int = 0
    tokens: int = 0
    too_long: int = 0
    seconds: float = 0
    losses: list[float] = field(default_factory=list)


def pretrain(config: PretrainConfig, start: Path | None, world: SimulatorConfig, prompts: str, space: str, seed: int,
             folder: Path, progress: Callable[[int, str], None]) -> dict[str, Any]:  # fmt: skip
    """Train tokenizer and model, save both into `folder`, return what was done (also in training.json).

    `start` is the folder of `config.start`: then its model trains, and its tokenizer is kept. `progress(step, text)`
    is told now and then. Deterministic on one machine under a seed, killed on the way or not: a second call with the
    same arguments goes on from the state that the first left in `folder`.
    """
    import torch

    torch.manual_seed(seed)
    torch.set_num_threads(config.threads)
    make = partial(texts, world, prompts, space, seed)
    if start:
        tokenizer, model = _stored_model(start)
    else:
        dimensions = load_space(space).dimensions
        names = [pole.label for dimension in dimensions for pole in (dimension.negative, dimension.positive)]
        tokenizer = train_tokenizer(make(FOLLOWING, config.tokenizer_documents), config, names)
        model = _new_model(config, tokenizer)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    learner = _Learner(model.to(device), config, device)
    done = learner.load(folder / STATE) if (folder / STATE).is_file() else _Done(chunk=_first_chunk(config))
    _read(learner, _pools(make, tokenizer, config, done.chunk), done, folder / STATE, progress)
    _save(model, tokenizer, folder)
    report = {
        "config": config.model_dump(), "world": world.model_dump(), "prompts": prompts, "space": space, "seed": seed,
        "tokens": done.tokens, "documents_too_long": done.too_long, "seconds": round(done.seconds), "device": device,
        "last_loss": sum(done.losses) / len(done.losses), "parameters": sum(p.numel() for p in model.parameters()),
    }  # fmt: skip
    (folder / "training.json").write_text(json.dumps(report, indent=2) + "\n")
    (folder / STATE).unlink()
    return report


def _read(
    learner: "_Learner", pools: Iterator["_Pool"], done: _Done, state: Path, progress: Callable[[int, str], None]
) -> None:
    """Learn until the last step, and keep the state now and then, between two pools."""
    config, started, saved = learner.config, time.time() - done.seconds, done.steps
    while done.steps < config.steps:
        pool = next(pools)
        for rows in pool.batches[: config.steps - done.steps]:
            done.losses = [*done.losses[-19:], learner.step(done.steps, rows)]
            done.steps += 1
            done.tokens += sum(len(row) for _, row in rows)
            if done.steps % 20 == 0 or done.steps == config.steps:
                progress(done.steps, f"loss {done.losses[-1]:.3f}, {done.tokens / 1e6:.1f} M tokens")
        done.chunk, done.too_long, done.seconds = pool.end, done.too_long + pool.too_long, time.time() - started
        if done.steps - saved >= config.save_every or done.steps == config.steps:
            learner.save(state, done)
            saved = done.steps


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    import torch

    weights = {name: tensor.detach().to("cpu", torch.bfloat16) for name, tensor in model.state_dict().items()}
    del weights["lm_head.weight"]  # the embedding, tied: no need to store it twice
    model.config.dtype = "bfloat16"
    model.save_pretrained(folder, state_dict=weights)
    tokenizer.save_pretrained(folder)


def texts(world: SimulatorConfig, prompts: str, space: str, seed: int, start: int, count: int) -> list[Document]:
    """Documents of the corpus: what is given, and what the model reads, ended as the host ends a response."""
    corpus = documents(Simulator(world, load_space(space)), load_prompts(prompts), seed, count, start)
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


def _stored_model(folder: Path) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = from_folder(AutoModelForCausalLM, folder, dtype=torch.float32, attn_implementation="eager")
    tokenizer = from_folder(AutoTokenizer, folder)
    for where_from in ("is_local", "local_files_only"):  # would be stored with the tokenizer
        tokenizer.init_kwargs.pop(where_from, None)
    return tokenizer, model


def _first_chunk(config: PretrainConfig) -> int:
    """The first chunk that lies in the phase as a whole."""
    return -(-((0, *ENDS)[config.phase]) // CHUNK)


class _Learner:
    """Weights in float32, their optimizers and their schedule."""

    def __init__(self, model: Any, config: PretrainConfig, device: str) -> None:
        import torch

        self.model, self.config, self.device = model, config, device
        matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
        others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
        self.optimizers = [
            torch.optim.Muon(matrices, lr=config.muon_lr, weight_decay=0.0, momentum=0.95),
            torch.optim.AdamW(others, lr=config.lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
        ]
        # a CPU that cannot multiply bf16 (AVX2 alone) is ten times as slow with it as without
        self.narrow = device == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        self.hidden = torch.compile(model.model, dynamic=True) if config.compile else model.model

    def step(self, number: int, rows: list[TrainingRow]) -> float:
        """Learn from one batch; returns the loss."""
        import torch

        rate = min(1.0, (number + 1) / self.config.warmup, 2 * (1 - number / self.config.steps))
        for optimizer, peak in zip(self.optimizers, (self.config.muon_lr, self.config.lr), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * max(rate, 0.02)
        width, pad = max(len(row) for _, row in rows), self.model.config.pad_token_id
        ids = torch.tensor([row + [pad] * (width - len(row)) for _, row in rows], device=self.device)
        read = torch.tensor(
            [[False] * n + [True] * (len(row) - n) + [False] * (width - len(row)) for n, row in rows],
            device=self.device,
        )[:, 1:]  # padding is on the right, where nothing that is read attends
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.narrow):
            logits = self.model.lm_head(self.hidden(input_ids=ids).last_hidden_state[:, :-1][read])
        loss = torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][read])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def save(self, path: Path, done: _Done) -> None:
        """Everything that `load` brings back, in one file."""
        from safetensors.torch import save_file

        tensors = {f"weights/{name}": p.detach() for name, p in self.model.named_parameters()}
        for i, optimizer in enumerate(self.optimizers):
            for j, kept in optimizer.state_dict()["state"].items():
                tensors |= {f"{i}/{j}/{name}": tensor for name, tensor in kept.items()}
        note = {"done": json.dumps(asdict(done))}
        with atomic(path) as temporary:
            save_file({key: tensor.cpu() for key, tensor in tensors.items()}, temporary, note)

    def load(self, path: Path) -> _Done:
        """Weights and optimizers as they were saved, and how far the training was."""
        import torch
        from safetensors import safe_open

        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            done = _Done(**json.loads(file.metadata()["done"]))
        with torch.no_grad():
            for name, p in self.model.named_parameters():
                p.copy_(tensors.pop(f"weights/{name}"))
        states: dict[int, dict[int, dict[str, Any]]] = defaultdict(lambda: defaultdict(dict))
        for key, tensor in tensors.items():
            i, j, name = key.split("/")
            states[int(i)][int(j)][name] = tensor
        for number, optimizer in enumerate(self.optimizers):
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": dict(states[number]), "param_groups": groups})
        return done


@dataclass(frozen=True, slots=True)
class _Pool:
    """Batches of about `batch_tokens` padded tokens, documents of like length together. `end` is the first chunk that
    is not in them, `too_long` how many documents were left out."""

    batches: list[list[TrainingRow]]
    end: int
    too_long: int


def _pools(
    make: Callable[[int, int], list[Document]], tokenizer: Any, config: PretrainConfig, first: int
) -> Iterator[_Pool]:
    """The corpus from a chunk on, without end."""
    pool: list[TrainingRow] = []
    too_long = 0
    with get_context("spawn").Pool(config.workers) as workers:
        for number, chunk in _chunks(workers, partial(_made, make), first, config.workers * 3):
            given = tokenizer([given or EOS for given, _ in chunk])["input_ids"]
            whole = tokenizer([given + read for given, read in chunk])["input_ids"]
            rows = [(len(g) if text else 0, w) for g, w, (text, _) in zip(given, whole, chunk, strict=True)]
            pool += [row for row in rows if len(row[1]) <= config.max_tokens]
            too_long += sum(len(row[1]) > config.max_tokens for row in rows)
            if sum(len(row[1]) for row in pool) > 16 * config.batch_tokens:
                yield _Pool(_bucket(pool, config.batch_tokens), number + 1, too_long)
                pool, too_long = [], 0


def _made(make: Callable[[int, int], list[Document]], chunk: int) -> list[Document]:
    return make(chunk * CHUNK, CHUNK)


def _chunks(
    workers: Any, work: Callable[[int], list[Document]], first: int, ahead: int
) -> Iterator[tuple[int, list[Document]]]:
    """Like `imap`, but only `ahead` chunks in advance: the corpus is endless."""
    waiting = [workers.apply_async(work, (first + i,)) for i in range(ahead)]
    for number in count(first):
        yield number, waiting.pop(0).get()
        waiting.append(workers.apply_async(work, (number + ahead,)))


def _bucket(rows: list[TrainingRow], batch_tokens: int) -> list[list[TrainingRow]]:
    rows = sorted(rows, key=lambda row: len(row[1]))
    batches: list[list[TrainingRow]] = [[]]
    for row in rows:
        if batches[-1] and (len(batches[-1]) + 1) * len(row[1]) > batch_tokens:
            batches.append([])
        batches[-1].append(row)
    Random(len(rows)).shuffle(batches)
    return batches
