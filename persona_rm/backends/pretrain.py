"""Trains a small starting model (a byte-level BPE tokenizer and a Llama of a few million parameters), from scratch or
from a model that exists.

The library must work where no weights can be downloaded, so it contains a model of its own, trained on the simulator's
language (`simulator/corpus.py`). A document has the form of a DPO row: prompt, response, a space, end of text
(`backends.tokens`). Weights are trained in float32, with bf16 autocast if the machine multiplies bf16 fast, and are
stored in bf16, because trainers load them in bf16.
"""

import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from persona_rm.backends.pretrain_rows import CHUNK, EOS, RowPool, TrainingRow, row_pools, texts
from persona_rm.backends.pretrained import from_folder
from persona_rm.config import Config
from persona_rm.extras import extra_needed
from persona_rm.io.json_rows import atomic
from persona_rm.simulator.corpus import ENDS, FOLLOWING, PHASES, Document
from persona_rm.simulator.simulator import SimulatorConfig
from persona_rm.space import load_space

PAD = "<pad>"
STATE = "state.safetensors"
"""Name of the checkpoint beside the model. A killed run continues from it."""


class PretrainConfig(Config):
    """The model and its training. The defaults are those of the packaged model's first training
    (recipes/simulator_reader.yaml), which takes 45 minutes on 2 cores."""

    start: str | None = None
    """A folder or `simulator_lm`: continue with this model, its size and its tokenizer. None trains from scratch."""
    phase: int = Field(0, ge=0, lt=len(PHASES))
    """The phase of the corpus that training starts with, counted from 0 (`simulator/corpus.py`)."""
    hidden: int = Field(192, multiple_of=32)
    layers: int = 4
    heads: int = 3
    vocab: int = 2048
    context: int = 4096
    """Context length. Histories of real people are longer than the documents of the training."""
    max_tokens: int = 1536
    """Longer documents are left out and counted."""
    steps: int = Field(6200, gt=0)
    batch_tokens: int = 4096
    lr: float = 4e-3
    """Peak learning rate of Adam, for embeddings and norms. Rates decay linearly over the second half."""
    muon_lr: float = 0.01
    """Peak learning rate of Muon, for the weight matrices. It needs fewer steps than Adam, which saves CPU time."""
    warmup: int = 50
    threads: int = Field(2, gt=0)
    workers: int = 1
    tokenizer_documents: int = 3000
    save_every: int = 200
    """Steps between two checkpoints. A killed run continues from the last one."""
    compile: bool = False
    """Use `torch.compile`: 1.5 times as fast on a CPU after a minute of compilation. It needs a C++ compiler."""

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
    """Progress of a training. `chunk` is the index of the first chunk of documents that was not read yet."""

    steps: int = 0
    chunk: int = 0
    tokens: int = 0
    too_long: int = 0
    seconds: float = 0
    losses: list[float] = field(default_factory=list)


def pretrain(config: PretrainConfig, start: Path | None, simulator: SimulatorConfig, prompts: str, space: str,
             seed: int, folder: Path, progress: Callable[[int, str], None]) -> dict[str, Any]:  # fmt: skip
    """Trains tokenizer and model, saves both into `folder`, and returns a report (also written to training.json).

    `start` is the folder of `config.start`; its model is trained further and its tokenizer is kept.
    `progress(step, text)` is called every 20 steps. The same seed gives the same weights on one machine, even if the
    run is killed: a second call with the same arguments continues from the checkpoint in `folder`.
    """
    with extra_needed("training a starting model"):
        import torch

    torch.manual_seed(seed)
    torch.set_num_threads(config.threads)
    make = partial(texts, simulator, prompts, space, seed)
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
    pools = row_pools(
        make, tokenizer, first=done.chunk, workers=config.workers, batch_tokens=config.batch_tokens,
        max_tokens=config.max_tokens,
    )  # fmt: skip
    _read(learner, pools, done, folder / STATE, progress)
    _save(model, tokenizer, folder)
    report = {
        "config": config.model_dump(), "simulator": simulator.model_dump(), "prompts": prompts, "space": space,
        "seed": seed, "tokens": done.tokens, "documents_too_long": done.too_long, "seconds": round(done.seconds),
        "device": device,
        "last_loss": sum(done.losses) / len(done.losses), "parameters": sum(p.numel() for p in model.parameters()),
    }  # fmt: skip
    (folder / "training.json").write_text(json.dumps(report, indent=2) + "\n")
    # The checkpoint goes last: a run that is killed before this line continues from it.
    (folder / STATE).unlink()
    return report


def _read(
    learner: "_Learner", pools: Iterator[RowPool], done: _Done, state: Path, progress: Callable[[int, str], None]
) -> None:
    """Trains until the last step. Checkpoints are written between pools, because `done.chunk` counts these."""
    config, started, saved = learner.config, time.time() - done.seconds, done.steps
    while done.steps < config.steps:
        pool = next(pools)
        for rows in pool.batches[: config.steps - done.steps]:
            done.losses = [*done.losses[-19:], learner.step(done.steps, rows)]
            done.steps += 1
            done.tokens += sum(len(row) for _, row in rows)
            if done.steps % 20 == 0 or done.steps == config.steps:
                progress(done.steps, f"loss {done.losses[-1]:.3f}, {done.tokens / 1e6:.1f} M tokens")
        # After the whole pool: a checkpoint inside it could not say which of its documents were read.
        done.chunk, done.too_long, done.seconds = pool.end, done.too_long + pool.too_long, time.time() - started
        if done.steps - saved >= config.save_every or done.steps == config.steps:
            learner.save(state, done)
            saved = done.steps


def _save(model: Any, tokenizer: Any, folder: Path) -> None:
    import torch

    weights = {name: tensor.detach().to("cpu", torch.bfloat16) for name, tensor in model.state_dict().items()}
    del weights["lm_head.weight"]  # tied to the embedding, which is stored already
    model.config.dtype = "bfloat16"
    model.save_pretrained(folder, state_dict=weights)
    tokenizer.save_pretrained(folder)


def train_tokenizer(corpus: list[Document], config: PretrainConfig, names: Sequence[str] = ()) -> Any:
    """A byte-level BPE tokenizer with one token for each of `names`.

    The names are those of the poles. Without these tokens, so small a model would spend most of its training on
    telling "Likes" from "Dislikes" in a list of ten names. Byte level means that every text can be encoded.
    """
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    # Line ends are single tokens, so that a prompt has the same tokens alone and followed by a response. This keeps
    # the border of `backends.tokens` exact, because prompts end with newlines.
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
    for option in ("is_local", "local_files_only"):  # transformers would store them with the tokenizer
        tokenizer.init_kwargs.pop(option, None)
    return tokenizer, model


def _first_chunk(config: PretrainConfig) -> int:
    """The first chunk that lies completely in the phase."""
    return -(-((0, *ENDS)[config.phase]) // CHUNK)


class _Learner:
    """The model in float32, its two optimizers and their schedule."""

    def __init__(self, model: Any, config: PretrainConfig, device: str) -> None:
        import torch

        self.model, self.config, self.device = model, config, device
        # Muon is for matrices of hidden layers. The embedding, which is tied to the output, and vectors go to AdamW.
        matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
        others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
        self.optimizers = [
            torch.optim.Muon(matrices, lr=config.muon_lr, weight_decay=0.0, momentum=0.95),
            torch.optim.AdamW(others, lr=config.lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
        ]
        # On a CPU without bf16 instructions (AVX2 only), a step in bf16 takes ten times as long as in float32.
        self.narrow = device == "cuda" or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        # Dynamic shapes, because nearly every batch has another width and would be compiled again.
        self.hidden = torch.compile(model.model, dynamic=True) if config.compile else model.model

    def step(self, number: int, rows: list[TrainingRow]) -> float:
        """Trains on one batch and returns the loss."""
        import torch

        # Linear warm-up, a constant rate up to the middle, then a linear decay to a fiftieth of the peak.
        rate = min(1.0, (number + 1) / self.config.warmup, 2 * (1 - number / self.config.steps))
        for optimizer, peak in zip(self.optimizers, (self.config.muon_lr, self.config.lr), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = peak * max(rate, 0.02)
        # Padding is on the right. With causal attention no real token attends to it, so no mask is needed.
        width, pad = max(len(row) for _, row in rows), self.model.config.pad_token_id
        ids = torch.tensor([row + [pad] * (width - len(row)) for _, row in rows], device=self.device)
        # True for the tokens that the model learns to predict: neither the given ones nor padding.
        learned = torch.zeros(ids.shape, dtype=torch.bool)
        for i, (n, row) in enumerate(rows):
            learned[i, n : len(row)] = True
        # The first token of a row has no predecessor that could predict it.
        read = learned[:, 1:].to(self.device)
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=self.narrow):
            # Only the states that predict a learned token go through the vocabulary projection.
            logits = self.model.lm_head(self.hidden(input_ids=ids).last_hidden_state[:, :-1][read])
        loss = torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][read])
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return float(loss.detach())

    def save(self, path: Path, done: _Done) -> None:
        """Writes weights, optimizer states and progress into one file, atomically."""
        from safetensors.torch import save_file

        tensors = {f"weights/{name}": p.detach() for name, p in self.model.named_parameters()}
        for i, optimizer in enumerate(self.optimizers):
            for j, kept in optimizer.state_dict()["state"].items():
                tensors |= {f"{i}/{j}/{name}": tensor for name, tensor in kept.items()}
        # The metadata of a safetensors file holds texts only.
        note = {"done": json.dumps(asdict(done))}
        with atomic(path) as temporary:
            save_file({key: tensor.cpu() for key, tensor in tensors.items()}, temporary, note)

    def load(self, path: Path) -> _Done:
        """Restores weights and optimizers, and returns the progress."""
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
            # Only tensors are in the file. Rates and options of the groups follow from the config, which is the same.
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": dict(states[number]), "param_groups": groups})
        return done
