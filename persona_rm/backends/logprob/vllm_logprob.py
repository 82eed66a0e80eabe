"""Log-probabilities of given responses by vLLM's offline engine, which computes the blocks of a prompt once.

vLLM knows log p only of tokens whose predecessor it computed. Where its prefix cache reaches into a response, entries
are missing, or are whatever the memory held before: numbers that look like log-probabilities (so vLLM itself never
reads the cache for such a request unless told to). Here the cache is read and no entry is believed unless it lies
behind the hit and names the response's own token. A hit that ends with the prompt (one of whole blocks) costs the
response's first token, which is asked for apart: log p of given tokens after the prompt. Any other row is computed
again without reading the cache, at full price: one that was scored before, or whose response begins with the same
block as another's of its prompt. A larger `block_size` makes the second kind rarer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import Field

from persona_rm.backends.logprob.row_logprob import RowLogProb, check_rows, model_dir
from persona_rm.backends.pretrained import from_folder
from persona_rm.backends.tokens import Encoded
from persona_rm.backends.vllm_engine import (
    EngineConfig,
    EngineOptions,
    load_vllm,
    run_engine,
    start_engine,
    stop_engine,
)
from persona_rm.errors import HostError, RecipeError

VllmDtype = Literal["auto", "float32", "bfloat16", "float16"]
MOST_TOKENS = 128
"""vLLM's bound on `logprob_token_ids`."""


@dataclass(slots=True)
class VllmCounters:
    """What an instance did so far: rows that callers asked for; then, of both engines together, distinct rows sent,
    their tokens, how many of these were read from the cache in rows that were believed, rows whose first token was
    asked for apart, and rows sent again without reading the cache."""

    rows: int = 0
    sent: int = 0
    tokens: int = 0
    cached: int = 0
    completed: int = 0
    rescored: int = 0


class VllmOptions(EngineOptions):
    """`engine_options` of a bundle for `VllmLogProb`. `gpu_memory_utilization` is for both models together."""

    max_length: int | None = Field(default=None, ge=1)
    """The most tokens a row may have, if that is less than the engines' contexts allow."""
    share_prompts: bool = True
    """False never reads the prefix cache."""


class VllmLogProb(RowLogProb):
    """sum log p(response | prompt) under `policy` and `reference` (folders), in nats, by vLLM 0.29.

    Token ids (`token_ids`) and refusals are those of `TransformersLogProb`. Each model has an engine, started on
    first use. A row may have one token less than the engine's context, because vLLM samples one after it. One thread
    per instance.
    """

    def __init__(
        self,
        policy: str | Path,
        reference: str | Path | None = None,
        *,
        dtype: VllmDtype = "auto",
        options: VllmOptions | None = None,
    ) -> None:
        self.policy, self.reference = policy, reference
        self.dtype, self.options = dtype, options or VllmOptions()
        self.counters = VllmCounters()

    @property
    def limit(self) -> int:
        """The most tokens a row may have: the smallest of `max_length` and, less one, both engines' contexts."""
        contexts = [int(engine.model_config.max_model_len) - 1 for engine in self._engines()]
        return min(contexts if self.options.max_length is None else [self.options.max_length, *contexts])

    def close(self) -> None:
        """Stops the engines and their processes; the next call starts others."""
        for name in ("_policy", "_reference"):
            if engine := self.__dict__.pop(name, None):
                stop_engine(engine)

    def _ready(self, rows: Sequence[Encoded]) -> list[Encoded]:
        check_rows(rows, self.limit, min(int(e.model_config.get_vocab_size()) for e in self._engines()))
        self.counters.rows += len(rows)
        return list(rows)

    def _sums(self, rows: Sequence[Encoded]) -> list[list[float]]:
        order = sorted(rows)  # rows that begin alike come one after the other, while their blocks are there
        found = [self._by_row(engine, order) for engine in self._engines()]
        return [[sums[row] for row in rows] for sums in found]

    def _by_row(self, engine: Any, rows: Sequence[Encoded]) -> dict[Encoded, float]:
        """The sum of each row: with the cache where that can be believed, else without."""
        found = self._shared(engine, rows) if self.options.share_prompts else {}
        rest = [row for row in rows if row not in found]
        self.counters.rescored += len(rest) if self.options.share_prompts else 0
        for row, output in zip(rest, self._run(engine, rest, read=False), strict=True):
            if (value := tail_sum(output, row)) is not None:
                found[row] = value
        if lost := sum(row not in found for row in rows):
            problem = f"vLLM gave no log-probabilities of the response for {lost} of {len(rows)} rows, asked without"
            raise HostError(f"{problem} reading its cache: this needs vLLM 0.29 and a model that it decodes itself")
        self.counters.sent += len(rows)
        self.counters.tokens += sum(len(ids) for ids, _ in rows)
        return found

    def _shared(self, engine: Any, rows: Sequence[Encoded]) -> dict[Encoded, float]:
        """The rows that can be believed although the cache was read, with their sums."""
        found: dict[Encoded, float] = {}
        headless: dict[Encoded, float] = {}
        for row, output in zip(rows, self._run(engine, rows, read=True), strict=True):
            for missing, where in ((0, found), (1, headless)):
                if (value := tail_sum(output, row, missing)) is not None:
                    where[row] = value
                    self.counters.cached += int(output.num_cached_tokens)
                    break
        first = self._first(engine, list(headless))
        self.counters.completed += len(first)
        return found | {row: headless[row] + value for row, value in first.items()}

    def _run(self, engine: Any, rows: Sequence[Encoded], *, read: bool) -> list[Any]:
        sampling = _sampling(prompt_logprobs=0, skip_reading_prefix_cache=not read)
        return _outputs(engine, [ids for ids, _ in rows], [sampling] * len(rows))

    def _first(self, engine: Any, rows: Sequence[Encoded]) -> dict[Encoded, float]:
        """log p(first response token | prompt): one request per prompt, which computes its last block only."""
        wanted: dict[tuple[int, ...], set[int]] = {}
        for ids, start in rows:
            wanted.setdefault(ids[:start], set()).add(ids[start])
        asked = [(prompt, part) for prompt, tokens in wanted.items() for part in _parts(sorted(tokens))]
        sampling = [_sampling(logprob_token_ids=part) for _, part in asked]
        known: dict[tuple[tuple[int, ...], int], float] = {}
        for (prompt, part), output in zip(asked, _outputs(engine, [p for p, _ in asked], sampling), strict=True):
            entries, end = output.outputs[0].logprobs, len(part) + 1  # the sampled token stands before those asked for
            if entries is not None and list(entries.token_ids[1:end]) == part:
                known.update(zip([(prompt, token) for token in part], entries.logprobs[1:end], strict=True))
        keys = {row: (row[0][: row[1]], row[0][row[1]]) for row in rows}
        return {row: known[key] for row, key in keys.items() if key in known}

    @cached_property
    def _tokenizer(self) -> Any:
        from transformers import AutoTokenizer

        return from_folder(AutoTokenizer, model_dir(self.policy, "policy"))

    @cached_property
    def _policy(self) -> Any:
        return self._start(self.policy, "policy")

    @cached_property
    def _reference(self) -> Any:
        return None if self.reference is None else self._start(self.reference, "reference")

    def _engines(self) -> list[Any]:
        return [engine for engine in (self._policy, self._reference) if engine is not None]

    def _start(self, folder: str | Path, role: str) -> Any:
        if self.dtype not in get_args(VllmDtype):
            raise RecipeError(f"vLLM has no dtype {self.dtype}: use one of {', '.join(get_args(VllmDtype))}")
        given = self.options.model_dump(include=set(EngineOptions.model_fields))
        given["gpu_memory_utilization"] /= 1 if self.reference is None else 2
        return start_engine(EngineConfig(model=model_dir(folder, role), dtype=self.dtype, **given))


def tail_sum(output: Any, row: Encoded, missing: int = 0) -> float | None:
    """The sum over a vLLM `RequestOutput`'s entries of the response but for its first `missing` tokens; None where
    these entries must not be believed."""
    ids, start = row[0], row[1] + missing
    entries, cached = output.prompt_logprobs, output.num_cached_tokens
    if entries is None or cached is None or cached >= start:
        return None
    begin = len(entries.token_ids) - (len(ids) - start)  # negative where the list is short, as of the newer GPU runner
    if begin < 0 or tuple(entries.token_ids[begin:]) != ids[start:]:
        return None
    return math.fsum(entries.logprobs[begin:])


def _outputs(engine: Any, prompts: Sequence[Sequence[int]], sampling: Sequence[Any]) -> list[Any]:
    if not prompts:
        return []
    asked = [{"prompt_token_ids": list(ids)} for ids in prompts]
    try:
        return run_engine(engine, asked, list(sampling), str(engine.model_config.model))
    except ValueError as error:
        raise HostError("vLLM refuses rows within its context and vocabulary: is this vLLM 0.29?") from error


def _sampling(**more: Any) -> Any:
    """One greedy token, which nobody reads, and `more`."""
    return load_vllm().SamplingParams(max_tokens=1, temperature=0.0, detokenize=False, flat_logprobs=True, **more)


def _parts(tokens: Sequence[int]) -> list[list[int]]:
    return [list(tokens[at : at + MOST_TOKENS]) for at in range(0, len(tokens), MOST_TOKENS)]
