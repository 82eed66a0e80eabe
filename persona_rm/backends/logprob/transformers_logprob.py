"""Log-probabilities of given responses under a policy and, optionally, a reference: local models of transformers.

Equal rows are computed once. A prefix that rows share is computed once (`prefix_tree`), and prefixes that calls share
are kept (`prefix_cache`). Rows of similar length share a batch, and both models see the same rows (`forward`).
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from persona_rm.backends.logprob.causal import Model, inspect
from persona_rm.backends.logprob.forward import ForwardCounters, LogProbScorer
from persona_rm.backends.logprob.lora import adapted, base_of, is_adapter, same
from persona_rm.backends.logprob.prefix_cache import PrefixCache
from persona_rm.backends.logprob.prefix_tree import grow
from persona_rm.backends.logprob.row_logprob import RowLogProb, check_rows, model_dir
from persona_rm.backends.pretrained import from_folder
from persona_rm.backends.tokens import Encoded
from persona_rm.config import Config
from persona_rm.extras import require

Dtype = Literal["float32", "bfloat16", "float16", "float64"]
Truncate = Literal["refuse", "left"]
"""`refuse`: a row that is too long raises. `left`: the oldest tokens of its prompt are cut, see `shortened`."""
CUT_STEP = 256
"""Tokens are cut in steps of this size, so that responses of different lengths mostly get the same prompt."""
MIN_PROMPT = 64
"""The last prompt tokens are never cut, because they contain the question."""


class TransformersOptions(Config):
    """`engine_options` of a bundle for `TransformersLogProb`, whose docstring explains them."""

    batch_tokens: int = Field(default=8192, ge=1)
    max_length: int | None = Field(default=None, ge=1)
    share_prompts: bool = True
    cache_bytes: int = Field(default=512 * 2**20, ge=0)
    truncate: Truncate = "refuse"


class TransformersLogProb(RowLogProb):
    """sum log p(response | prompt) under `policy` and `reference` (folders), in nats.

    The policy's tokenizer encodes rows as in DPO training (`backends.tokens`), and the sum includes EOS. NaN and
    infinities raise `ScoreError`. Models are loaded on first use. A policy may be a LoRA adapter (peft). If the
    reference is its base model, it takes no memory of its own. An instance belongs to one thread.

    `batch_tokens`: upper bound on rows x longest row of one forward pass.
    `max_length`: upper bound on the tokens of a row, besides the context of the models. `truncate` says what happens
    to longer rows.
    `share_prompts`: False computes every row from its beginning.
    `cache_bytes`: upper bound on the keys and values that are kept between calls, for both models together; 0 keeps
    none. A token of Llama-3.1-8B takes 128 KiB in bfloat16.
    """

    def __init__(
        self,
        policy: str | Path,
        reference: str | Path | None = None,
        *,
        device: str = "auto",
        dtype: Dtype = "float32",
        batch_tokens: int = 8192,
        max_length: int | None = None,
        share_prompts: bool = True,
        cache_bytes: int = 512 * 2**20,
        truncate: Truncate = "refuse",
    ) -> None:
        self.policy, self.reference = policy, reference
        self.device, self.dtype = device, dtype
        self.batch_tokens, self.max_length, self.share_prompts = batch_tokens, max_length, share_prompts
        self.truncate: Truncate = truncate
        self.counters = ForwardCounters()
        self._cache = PrefixCache(cache_bytes) if share_prompts and cache_bytes > 0 else None

    def _ready(self, rows: Sequence[Encoded]) -> list[Encoded]:
        limit = self.limit
        fitted = [row if self.truncate == "refuse" or limit is None else shortened(row, limit) for row in rows]
        cut = "nothing was cut" if self.truncate == "refuse" else f"even with {MIN_PROMPT} prompt tokens left"
        # Both models read the same ids, so the smaller vocabulary is the bound.
        check_rows(fitted, limit, min(model.vocabulary for model in self._models), cut)
        # Counted only now: a call that is refused has scored no row.
        cuts = [len(row[0]) - len(short[0]) for row, short in zip(rows, fitted, strict=True)]
        self.counters.rows += len(rows)
        self.counters.cut_rows += sum(cut > 0 for cut in cuts)
        self.counters.cut_tokens += sum(cuts)
        return fitted

    @property
    def limit(self) -> int | None:
        """Upper bound on the tokens of a row: the smallest of `max_length` and both contexts. None: no bound."""
        limits = [self.max_length, *(model.limit for model in self._models)]
        return min((limit for limit in limits if limit is not None), default=None)

    def forget_texts(self) -> None:
        """Drop the keys and values that are kept between calls."""
        if self._cache:
            self._cache.clear()

    def _release(self) -> None:
        import torch

        if self._cache:
            self._cache.clear()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()

    def _sums(self, rows: Sequence[Encoded]) -> list[list[float]]:
        """The sums of the policy and, if there is one, of the reference."""
        scorers = [
            LogProbScorer(model, rows, budget=self.batch_tokens, cache=self._cache, counters=self.counters)
            for model in self._models
        ]
        if self._cache:
            # One call of the cache for both models: with a call each, the second could evict blocks that the first one
            # counted on.
            self._cache.begin([prompt for scorer in scorers for prompt in scorer.prompts()])
        # Both models read the same token ids, so they share one forest.
        roots = grow(rows, share=self.share_prompts)
        sums = [scorer.sums(roots) for scorer in scorers]
        self.counters.bytes = self._cache.bytes if self._cache else 0
        return sums

    @cached_property
    def _tokenizer(self) -> Any:
        folder = _folder(self.policy, "policy")
        # An adapter that was saved without a tokenizer uses the one of its base model.
        if is_adapter(folder) and not (Path(folder) / "tokenizer_config.json").is_file():
            folder = base_of(folder)
        return from_folder(_transformers().AutoTokenizer, folder)

    @cached_property
    def _models(self) -> tuple[Model, ...]:
        """The policy and, if there is one, the reference."""
        folder = _folder(self.policy, "policy")
        if not is_adapter(folder):
            return self._plain(folder, "policy"), *self._other()
        base = base_of(folder)
        policy, off = adapted(self._net(base), folder)
        return (policy, off) if self.reference and same(self.reference, base) else (policy, *self._other())

    def _other(self) -> tuple[Model, ...]:
        """The reference as a model with its own weights; empty if there is none."""
        return () if self.reference is None else (self._plain(_folder(self.reference, "reference"), "reference"),)

    def _plain(self, folder: str, role: str) -> Model:
        return replace(inspect(self._net(folder)), role=role)

    def _net(self, folder: str) -> Any:
        auto = _transformers().AutoModelForCausalLM
        import torch

        device = ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device
        return from_folder(auto, folder, dtype=getattr(torch, self.dtype)).to(device).eval()


def shortened(row: Encoded, limit: int) -> Encoded:
    """A row that is longer than `limit`, without its oldest tokens.

    Tokens are cut from the left of the prompt in steps of `CUT_STEP`. There, prompt formats put the user's history,
    and chat templates a first token and a system text. The response and the last `MIN_PROMPT` tokens of the prompt are
    never cut: a row for which that is not enough is returned unchanged, and `check_rows` refuses it.
    """
    ids, start = row
    room = start - MIN_PROMPT
    cut = min(-(-(len(ids) - limit) // CUT_STEP) * CUT_STEP, room)
    return (ids[cut:], start - cut) if 0 < len(ids) - limit <= cut else row


def _transformers() -> Any:
    require("the log-prob backend", "torch", "transformers")
    import transformers

    return transformers


def _folder(path: str | Path, role: str) -> str:
    """The folder of a model. An adapter, which only a policy can be, has no config.json to check."""
    return str(path) if role == "policy" and is_adapter(path) else model_dir(path, role)
