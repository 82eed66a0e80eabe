"""Log-probabilities of given responses with vLLM's offline engine, which computes the blocks of a prompt once.

vLLM gives log p only for tokens whose predecessor was computed in the same request. If the prefix cache reaches into a
response, entries of `prompt_logprobs` are missing, or contain what the memory held before: numbers that look like
log-probabilities. For this reason vLLM does not read its cache for such a request by default. Here it reads the cache,
and an entry is accepted only if it lies after the cached part and names the response's own token (`tail_sum`).

Three cases follow:

- The last prompt token was computed, not read from the cache: all entries of the response are accepted.
- It ends exactly with the prompt (a prompt of whole blocks): the first response token has no entry. Its log p is
  requested separately, by `logprob_token_ids` after the prompt.
- It reaches into the response: the row is computed again without reading the cache, at full cost. That happens to rows
  that were scored before, and to rows whose response begins with the same block as another response to their prompt. A
  larger `block_size` makes the latter rarer.
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
"""Upper bound of vLLM on the length of `logprob_token_ids`."""


@dataclass(slots=True)
class VllmCounters:
    """Totals of an instance since it was made; all but `rows` are over both engines."""

    rows: int = 0
    """Rows that callers asked for."""
    sent: int = 0
    """Distinct rows that were sent."""
    tokens: int = 0
    """Tokens of these rows."""
    cached: int = 0
    """Tokens that were read from the cache, in rows whose entries were accepted."""
    completed: int = 0
    """Rows whose first response token was requested separately."""
    rescored: int = 0
    """Rows that were computed again without reading the cache."""


class VllmOptions(EngineOptions):
    """`engine_options` of a bundle for `VllmLogProb`. `gpu_memory_utilization` covers both models."""

    max_length: int | None = Field(default=None, ge=1)
    """Upper bound on the tokens of a row, if it is lower than that of the engines' contexts."""
    share_prompts: bool = True
    """False: the prefix cache is never read."""


class VllmLogProb(RowLogProb):
    """sum log p(response | prompt) under `policy` and `reference` (folders), in nats, with vLLM 0.29.

    Token ids (`backends.tokens`) and checks are those of `TransformersLogProb`. Each model has an engine of its own,
    which starts on first use. A row can have one token less than the engine's context, because vLLM samples one token
    after it. An instance belongs to one thread.
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
        """Upper bound on the tokens of a row: the smallest of `max_length` and both engines' contexts less one."""
        contexts = [int(engine.model_config.max_model_len) - 1 for engine in self._engines()]
        return min(contexts if self.options.max_length is None else [self.options.max_length, *contexts])

    def close(self) -> None:
        """Stops the engines and their processes. The next call starts new ones."""
        for name in ("_policy", "_reference"):
            if engine := self.__dict__.pop(name, None):
                stop_engine(engine)

    def forget_texts(self) -> None:
        """Empty the prefix caches of the engines that run."""
        for name in ("_policy", "_reference"):
            if engine := self.__dict__.get(name):
                engine.reset_prefix_cache()

    def _ready(self, rows: Sequence[Encoded]) -> list[Encoded]:
        check_rows(rows, self.limit, min(int(e.model_config.get_vocab_size()) for e in self._engines()))
        self.counters.rows += len(rows)
        return list(rows)

    def _sums(self, rows: Sequence[Encoded]) -> list[list[float]]:
        order = sorted(rows)  # rows with a common prefix follow one another while its blocks are still cached
        sums = []
        for engine in self._engines():
            by_row = self._by_row(engine, order)
            sums.append([by_row[row] for row in rows])
        return sums

    def _by_row(self, engine: Any, rows: Sequence[Encoded]) -> dict[Encoded, float]:
        """The sum of each row: read with the cache if that is accepted, else computed without it."""
        sums = self._shared(engine, rows) if self.options.share_prompts else {}
        rest = [row for row in rows if row not in sums]
        # Without sharing no row is computed a second time: this is the only way in which rows are read.
        self.counters.rescored += len(rest) if self.options.share_prompts else 0
        for row, output in zip(rest, self._run(engine, rest, read=False), strict=True):
            if (value := tail_sum(output, row)) is not None:
                sums[row] = value
        if lost := sum(row not in sums for row in rows):
            problem = f"vLLM gave no log-probabilities of the response for {lost} of {len(rows)} rows, asked without"
            raise HostError(f"{problem} reading its cache: this needs vLLM 0.29 and a model that it decodes itself")
        self.counters.sent += len(rows)
        self.counters.tokens += sum(len(ids) for ids, _ in rows)
        return sums

    def _shared(self, engine: Any, rows: Sequence[Encoded]) -> dict[Encoded, float]:
        """The sums of the rows whose entries are accepted although the cache was read."""
        sums: dict[Encoded, float] = {}
        headless: dict[Encoded, float] = {}  # without the first response token
        for row, output in zip(rows, self._run(engine, rows, read=True), strict=True):
            if (value := tail_sum(output, row)) is not None:
                sums[row] = value
            elif (value := tail_sum(output, row, missing=1)) is not None:
                headless[row] = value
            else:
                continue
            self.counters.cached += int(output.num_cached_tokens)
        first = self._first(engine, list(headless))
        self.counters.completed += len(first)
        return sums | {row: headless[row] + value for row, value in first.items()}

    def _run(self, engine: Any, rows: Sequence[Encoded], *, read: bool) -> list[Any]:
        sampling = _sampling(prompt_logprobs=0, skip_reading_prefix_cache=not read)
        return _outputs(engine, [ids for ids, _ in rows], [sampling] * len(rows))

    def _first(self, engine: Any, rows: Sequence[Encoded]) -> dict[Encoded, float]:
        """log p(first response token | prompt) of each row.

        One request per prompt asks for the first tokens of all its responses. It computes the last block only, because
        the blocks before it are cached.
        """
        wanted: dict[tuple[int, ...], set[int]] = {}
        for ids, start in rows:
            wanted.setdefault(ids[:start], set()).add(ids[start])
        asked: list[tuple[tuple[int, ...], list[int]]] = []
        for prompt, tokens in wanted.items():
            asked += [(prompt, part) for part in _parts(sorted(tokens))]
        sampling = [_sampling(logprob_token_ids=part) for _, part in asked]
        known: dict[tuple[tuple[int, ...], int], float] = {}
        for (prompt, part), output in zip(asked, _outputs(engine, [p for p, _ in asked], sampling), strict=True):
            entries, end = output.outputs[0].logprobs, len(part) + 1  # the sampled token precedes the requested ones
            # An entry is accepted only if it names the requested tokens. A row that gets none is computed again.
            if entries is not None and list(entries.token_ids[1:end]) == part:
                known.update(zip([(prompt, token) for token in part], entries.logprobs[1:end], strict=True))
        values = {}
        for ids, start in rows:
            if (key := (ids[:start], ids[start])) in known:
                values[ids, start] = known[key]
        return values

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
        # Each engine reserves its share of the whole GPU, and the option covers both.
        given["gpu_memory_utilization"] /= 1 if self.reference is None else 2
        return start_engine(EngineConfig(model=model_dir(folder, role), dtype=self.dtype, **given))


def tail_sum(output: Any, row: Encoded, missing: int = 0) -> float | None:
    """The sum over the entries of the response in a vLLM `RequestOutput`, without its first `missing` tokens.

    None if these entries must not be used: the cached part reaches them, or they do not name the response's tokens.
    """
    ids, start = row[0], row[1] + missing
    entries, cached = output.prompt_logprobs, output.num_cached_tokens
    # The entry at `start` comes from the token before it, which must have been computed and not read: cached <= start
    # - 1.
    if entries is None or cached is None or cached >= start:
        return None
    begin = len(entries.token_ids) - (len(ids) - start)  # negative if entries are missing
    if begin < 0 or tuple(entries.token_ids[begin:]) != ids[start:]:
        return None
    # `fsum` rounds once, at the end, however many tokens the response has.
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
    """Sampling parameters for one greedy token, which is not used, and `more`. vLLM samples at least one token."""
    return load_vllm().SamplingParams(max_tokens=1, temperature=0.0, detokenize=False, flat_logprobs=True, **more)


def _parts(tokens: Sequence[int]) -> list[list[int]]:
    return [list(tokens[at : at + MOST_TOKENS]) for at in range(0, len(tokens), MOST_TOKENS)]
