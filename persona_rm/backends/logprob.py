"""Log-probabilities of given responses under a policy and, where there is one, a reference: local transformers models.

Duplicates are computed once; a prompt with several responses is read once; rows of similar length share a batch; the
same batches go through both models (`forward`). One thread per instance.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from persona_rm.backends.base import SequenceLogProb
from persona_rm.backends.forward import Model, batch_sums, batches, inspect
from persona_rm.backends.host_tokens import Encoded, host_ids
from persona_rm.errors import MissingExtra, RecipeError, ScoreError

Dtype = Literal["float32", "bfloat16", "float16", "float64"]


class TransformersLogProb:
    """sum log p(response | prompt) under `policy` and `reference` (folders), in nats.

    Text is tokenised by the policy's tokenizer exactly as OpenRLHF's DPO does (`host_tokens`); the sum includes EOS.
    Rows longer than the model's context or `max_length` raise `ScoreError`, and so do NaN and infinities. Models load
    on first use. `batch_tokens` bounds rows x longest row of one forward pass; `share_prompts` False reads a prompt
    again for each of its responses.
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
    ) -> None:
        self.policy, self.reference = policy, reference
        self.device, self.dtype = device, dtype
        self.batch_tokens, self.max_length, self.share_prompts = batch_tokens, max_length, share_prompts

    def logprob(self, prompts: Sequence[str], responses: Sequence[str]) -> list[SequenceLogProb]:
        """One sum per row, in order. Raises `ScoreError` naming rows: too long, no response token, not finite."""
        if len(prompts) != len(responses):
            raise ScoreError(f"{len(prompts)} prompts for {len(responses)} responses")
        return self._score(host_ids(self._tokenizer, prompts, responses)) if prompts else []

    def logprob_ids(
        self, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]
    ) -> list[SequenceLogProb]:
        """The same from token ids, taken as they are (no EOS is added): what a rollout sampled."""
        if len(prompt_ids) != len(response_ids):
            raise ScoreError(f"{len(prompt_ids)} prompts for {len(response_ids)} responses")
        return self._score([((*p, *r), len(p)) for p, r in zip(prompt_ids, response_ids, strict=True)])

    def chat(self, messages: list[dict[str, str]]) -> str:
        """The messages through the tokenizer's own chat template, ready for the response."""
        if not self._tokenizer.chat_template:
            raise RecipeError(f"the tokenizer of {self.policy} has no chat template: use chat none or llama3")
        return str(self._tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))

    def _score(self, rows: Sequence[Encoded]) -> list[SequenceLogProb]:
        if not rows:
            return []
        self._check(rows)
        unique = list(dict.fromkeys(rows))
        policy = self._sums(self._policy, unique)
        reference = self._sums(self._reference, unique) if self._reference else [None] * len(unique)
        sizes = [len(ids) - start for ids, start in unique]
        found = dict(zip(unique, map(SequenceLogProb, policy, reference, sizes), strict=True))
        results = [found[row] for row in rows]
        bad = tuple(i for i, r in enumerate(results) if not math.isfinite(r.policy + (r.reference or 0.0)))
        if bad:
            raise ScoreError("the model gave a log-probability that is not finite", bad)
        return results

    def _check(self, rows: Sequence[Encoded]) -> None:
        """Refuses what the models cannot score, before any forward pass."""
        limit = self.limit
        if long := {i: len(ids) for i, (ids, _) in enumerate(rows) if limit is not None and len(ids) > limit}:
            tokens = ", ".join(f"row {i}: {n} tokens" for i, n in list(long.items())[:10])
            raise ScoreError(f"too long for the limit of {limit} tokens, nothing was cut: {tokens}", tuple(long))
        if empty := tuple(i for i, (ids, start) in enumerate(rows) if not 0 < start < len(ids)):
            raise ScoreError("no prompt token before the response, or no response token after the prompt", empty)
        size = min(model.vocabulary for model in (self._policy, self._reference) if model)
        if odd := tuple(i for i, (ids, _) in enumerate(rows) if not 0 <= min(ids) <= max(ids) < size):
            raise ScoreError(f"token ids outside the vocabulary of {size}: these ids are another tokenizer's", odd)

    @property
    def limit(self) -> int | None:
        """The most tokens a row may have: the smallest of `max_length` and both contexts."""
        limits = [self.max_length, *(model.limit for model in (self._policy, self._reference) if model)]
        return min((limit for limit in limits if limit is not None), default=None)

    def _sums(self, model: Model, rows: Sequence[Encoded]) -> list[float]:
        import torch

        sums = [math.nan] * len(rows)
        with torch.inference_mode():
            for batch in batches(rows, self.batch_tokens, share=model.shares):
                for i, value in zip(batch, batch_sums(model, [rows[i] for i in batch]), strict=True):
                    sums[i] = value
        return sums

    @cached_property
    def _tokenizer(self) -> Any:
        return _transformers().AutoTokenizer.from_pretrained(_folder(self.policy, "policy"), local_files_only=True)

    @cached_property
    def _policy(self) -> Model:
        return self._load(self.policy, "policy")

    @cached_property
    def _reference(self) -> Model | None:
        return None if self.reference is None else self._load(self.reference, "reference")

    def _load(self, folder: str | Path, role: str) -> Model:
        import torch

        device = ("cuda" if torch.cuda.is_available() else "cpu") if self.device == "auto" else self.device
        auto = _transformers().AutoModelForCausalLM
        path = _folder(folder, role)
        net = auto.from_pretrained(path, local_files_only=True, dtype=getattr(torch, self.dtype)).to(device).eval()
        found = inspect(net)
        return replace(found, shares=found.shares and self.share_prompts)


def _transformers() -> Any:
    try:
        import transformers
    except ImportError as error:
        raise MissingExtra("the log-prob backend needs transformers: pip install torch transformers") from error
    return transformers


def _folder(path: str | Path, role: str) -> str:
    if not (Path(path) / "config.json").is_file():
        raise RecipeError(f"no {role} model at {path}: a local folder with config.json and weights is needed")
    return str(path)
