"""The part that all log-prob backends share: token ids, checks, and one result per row."""

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from persona_rm.backends.base import SequenceLogProb
from persona_rm.backends.logprob.memory import NoRoom, in_halves
from persona_rm.backends.tokens import Encoded, token_ids
from persona_rm.errors import RecipeError, ScoreError
from persona_rm.prompts import ChatTemplate


class RowLogProb(ABC):
    """A `LogProb` whose engine scores distinct rows of token ids, under one or two models."""

    policy: str | Path
    reference: str | Path | None

    def logprob(
        self, prompts: Sequence[str], responses: Sequence[str], finished: Sequence[bool] | None = None
    ) -> list[SequenceLogProb]:
        """One sum per row, in order. A response that is not `finished` has no end token; if it has no token at all,
        its sums are 0.

        Raises `ScoreError` with the indices of rows that are too long (or too large for the memory), have no response
        token, or get a value that is not finite. Raises `HostError` if an engine died or cannot score rows.
        """
        if len(prompts) != len(responses):
            raise ScoreError(f"{len(prompts)} prompts for {len(responses)} responses")
        if not prompts:
            return []
        rows = token_ids(self._tokenizer, prompts, responses, finished)
        nothing = SequenceLogProb(0.0, None if self.reference is None else 0.0, 0)
        results = dict.fromkeys(range(len(rows)), nothing)
        # A cut response of no letters is no fault of the row: the product of no probabilities is 1.
        asked = [i for i, (ids, start) in enumerate(rows) if finished is None or finished[i] or start < len(ids)]
        try:
            results |= zip(asked, self._score([rows[i] for i in asked]), strict=True)
        except ScoreError as error:
            raise error.at(*(asked[i] for i in error.rows)) from error
        return [results[i] for i in range(len(rows))]

    def logprob_ids(
        self, prompt_ids: Sequence[Sequence[int]], response_ids: Sequence[Sequence[int]]
    ) -> list[SequenceLogProb]:
        """The same for token ids that a rollout sampled. They are used as they are; no EOS is added."""
        if len(prompt_ids) != len(response_ids):
            raise ScoreError(f"{len(prompt_ids)} prompts for {len(response_ids)} responses")
        return self._score([((*p, *r), len(p)) for p, r in zip(prompt_ids, response_ids, strict=True)])

    @cached_property
    def chat(self) -> ChatTemplate:
        """The chat side of the policy's tokenizer. No model is loaded for it."""
        return ChatTemplate(lambda: self._tokenizer)

    @property
    @abstractmethod
    def _tokenizer(self) -> Any:
        """The tokenizer of the policy."""

    @abstractmethod
    def _ready(self, rows: Sequence[Encoded]) -> list[Encoded]:
        """Counts the rows and returns them as they will be scored. Raises `ScoreError` as `check_rows` does."""

    @abstractmethod
    def _sums(self, rows: Sequence[Encoded]) -> list[list[float]]:
        """One list for the policy and, if there is one, one for the reference: a sum for each distinct row."""

    def _release(self) -> None:  # noqa: B027 - vLLM manages its own memory
        """Frees memory that can be spared (caches), before a batch is retried."""

    def _score(self, rows: Sequence[Encoded]) -> list[SequenceLogProb]:
        if not rows:
            return []
        rows = self._ready(rows)
        # After `_ready`, because rows that were shortened can be equal.
        unique = list(dict.fromkeys(rows))
        try:
            policy, *reference = in_halves(self._sums, unique, self._release)
        except NoRoom as error:
            large = tuple(i for i, row in enumerate(rows) if row == error.row)
            raise ScoreError(str(error), large, "too_long") from error
        sizes = [len(ids) - start for ids, start in unique]
        both = zip(policy, reference[0] if reference else [None] * len(unique), sizes, strict=True)
        by_row = {row: SequenceLogProb(*sums) for row, sums in zip(unique, both, strict=True)}
        results = [by_row[row] for row in rows]
        # The sum is finite only if both values are: infinities of opposite signs give NaN.
        if bad := tuple(i for i, r in enumerate(results) if not math.isfinite(r.policy + (r.reference or 0.0))):
            raise ScoreError("the model gave a log-probability that is not finite", bad, "not_finite")
        return results


def check_rows(rows: Sequence[Encoded], limit: int | None, vocabulary: int, cut: str = "nothing was cut") -> None:
    """Checks rows before anything is computed. `cut` completes the message: whether long rows were shortened.

    Raises `ScoreError` with the indices of rows that no model can score.
    """
    if long := {i: len(ids) for i, (ids, _) in enumerate(rows) if limit is not None and len(ids) > limit}:
        tokens = ", ".join(f"row {i}: {n} tokens" for i, n in list(long.items())[:10])
        cause = (
            f"prompt and response have {max(long.values())} tokens, and the limit is {limit} (the models' context, or "
            "engine_options.max_length in bundle.yaml)"
        )
        problem = f"too long for the limit of {limit} tokens, {cut}: {tokens}"
        raise ScoreError(problem, tuple(long), "too_long", cause=cause)
    # The first token of a row has no predecessor that could predict it, so a prompt needs one token at least.
    if empty := tuple(i for i, (ids, start) in enumerate(rows) if not 0 < start < len(ids)):
        problem = "no prompt token before the response, or no response token after the prompt"
        raise ScoreError(problem, empty, "no_token", cause=problem)
    if odd := tuple(i for i, (ids, _) in enumerate(rows) if not 0 <= min(ids) <= max(ids) < vocabulary):
        raise ScoreError(f"token ids outside the vocabulary of {vocabulary}: these ids are another tokenizer's", odd)


def model_dir(path: str | Path, role: str) -> str:
    """The folder of a model. Raises `RecipeError` if there is no model in it."""
    if not (Path(path) / "config.json").is_file():
        raise RecipeError(f"no {role} model at {path}: a local folder with config.json and weights is needed")
    return str(path)
