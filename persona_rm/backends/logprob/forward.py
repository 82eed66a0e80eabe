"""Batched sums of log-probabilities that are exact whatever stands beside a row: shared beginnings, head in chunks.

What rows have in common is read once (`tree`), what earlier calls left comes from the `PrefixCache`, and the rest of
each row reads both where they lie (`segments`): the same arithmetic in another order. The vocabulary projection sees
only the states that predict response tokens.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from persona_rm.backends.logprob.causal import Model, run
from persona_rm.backends.logprob.prefix_cache import BLOCK, Key, PrefixCache, keys_of
from persona_rm.backends.logprob.prefix_tree import PrefixNode, grow, worth
from persona_rm.backends.logprob.segments import Segment, Shared
from persona_rm.backends.tokens import Encoded

HEAD_CHUNK = 1024
"""Response positions projected onto the vocabulary at a time: bounds memory at HEAD_CHUNK x vocabulary."""
MARGIN = 8
"""Last tokens of a prompt that a tokenizer may join with the response: prompts that differ only there are one."""
CACHED_SHARE = 4
"""A batch may read this many times its token budget from the cache."""


@dataclass(slots=True)
class ForwardCounters:
    """What an instance did so far: rows asked for; of all its models together, tokens run through a model, tokens read
    from the cache instead, and how often a beginning was found there; the bytes that the cache holds now; rows that
    were shortened, and the tokens cut from them."""

    rows: int = 0
    computed: int = 0
    reused: int = 0
    hits: int = 0
    bytes: int = 0
    cut_rows: int = 0
    cut_tokens: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """A node whose ancestors are done: `chain` holds their segments; `cached` blocks before are still to be read."""

    node: PrefixNode
    start: int
    chain: tuple[Segment, ...] = ()
    cached: int = 0

    @property
    def own(self) -> int:
        return self.node.end - self.start

    @property
    def row(self) -> int:
        return self.node.rows[0]


class LogProbScorer:
    """One model over distinct rows. `budget` bounds rows x longest of one pass, counting what is run in it."""

    def __init__(
        self,
        model: Model,
        rows: Sequence[Encoded],
        *,
        budget: int,
        cache: PrefixCache | None = None,
        counters: ForwardCounters | None = None,
    ) -> None:
        self.model, self.rows, self.budget, self.counters = model, rows, budget, counters or ForwardCounters()
        self.cache = cache if model.shares else None
        self._keys = [keys_of(model.role, ids[: start - 1]) for ids, start in rows] if self.cache else []
        self._sums = [float("nan")] * len(rows)

    def prompts(self) -> list[list[Key]]:
        """The names of the blocks of every distinct prompt, for `PrefixCache.begin`."""
        ends = (ids[: max(start - MARGIN, 1)] for ids, start in self.rows)
        return list(dict(zip(ends, self._keys, strict=False)).values())

    def sums(self, roots: Sequence[PrefixNode]) -> list[float]:
        """The sum of log p(token | before) over each row's response tokens, in float64. `roots`: what `grow` gave."""
        import torch

        if not self.model.shares:
            roots = grow(self.rows, share=False)
        with torch.inference_mode(), self.model.active():
            todo = list(self._batches([self._root(node) for node in roots]))
            while todo:
                todo.extend(self._batches(self._work(todo.pop())))
        return self._sums

    def _root(self, node: PrefixNode) -> _Job:
        """From where the cache ends. A little more than what it holds is not worth a pass: then its rows read that."""
        cached = self.cache.longest(self._names(node)) if self.cache else 0
        if cached and node.children and not worth(node.end - cached * BLOCK, len(node.rows)):
            node = replace(node, end=cached * BLOCK)
        return _Job(node, cached * BLOCK, cached=cached)

    def _names(self, node: PrefixNode) -> list[Key]:
        """Of its whole blocks; of a leaf's, those that end before its last prompt token."""
        return self._keys[node.rows[0]][: node.end // BLOCK]

    def _batches(self, jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
        """Longest first, cut where the budget or what is read from the cache would be too much, or padding half."""
        batch: list[_Job] = []
        cached = 0
        for job in sorted(jobs, key=lambda job: -job.own):
            longest = batch[0].own if batch else job.own
            cached += job.cached * BLOCK
            full = longest * (len(batch) + 1) > self.budget or cached > CACHED_SHARE * self.budget
            if batch and (full or longest > 2 * job.own + BLOCK):
                yield batch
                batch, cached = [], job.cached * BLOCK
            batch.append(job)
        if batch:
            yield batch

    def _work(self, batch: Sequence[_Job]) -> list[_Job]:
        """Sets the sums of a batch's leaves; the jobs below its other nodes."""
        batch = [self._fetched(job) for job in batch]
        running = [job for job in batch if job.own]
        past = dict(zip(running, self._forward(running) if running else [], strict=False))
        below = []
        for job in batch:
            chain = (*job.chain, past[job]) if job in past else job.chain
            if job in past and self.cache:
                self.cache.keep(self._names(job.node), chain)
            below += [_Job(child, job.node.end, chain) for child in job.node.children]
        return below

    def _fetched(self, job: _Job) -> _Job:
        self.counters.computed += job.own
        if not job.cached or not self.cache:
            return job
        self.counters.hits += 1
        self.counters.reused += job.cached * BLOCK
        return replace(job, chain=(self.cache.read(self._names(job.node)[: job.cached]),))

    def _forward(self, jobs: Sequence[_Job]) -> list[Segment]:
        """One pass. Keys and values of every job, where one of them is needed again."""
        import torch

        ids = [torch.tensor(self.rows[job.row][0][job.start : job.node.end]) for job in jobs]
        row, column = self._responses(jobs)
        if self.model.shares:
            keep = any(map(self._needed, jobs))
            states, past = run(self.model.net, ids, [job.start for job in jobs], _shared(jobs), keep=keep)
            begin = torch.tensor([0, *accumulate(job.own for job in jobs)])
            states = states[(begin[row] + column - 1).to(states.device)]
        else:
            states, past = _plain(self.model, ids, row, column - 1), []
        if len(row):
            targets = torch.cat([one[column[row == i]] for i, one in enumerate(ids)])
            self._add(
                jobs, _sum_by_row(self.model, states, targets.to(states.device), row.to(states.device), len(jobs))
            )
        return past

    def _needed(self, job: _Job) -> bool:
        return bool(job.node.children or (self.cache and self.cache.wants(self._names(job.node))))

    def _responses(self, jobs: Sequence[_Job]) -> tuple[Any, Any]:
        """Where in the batch the response tokens are: their rows and columns."""
        import torch

        none = torch.empty(0, dtype=torch.long)
        begins = [self.rows[job.row][1] - job.start if not job.node.children else job.own for job in jobs]
        columns = [torch.arange(begin, job.own) for begin, job in zip(begins, jobs, strict=True)]
        rows = [torch.full_like(one, i) for i, one in enumerate(columns)]
        return torch.cat([none, *rows]), torch.cat([none, *columns])

    def _add(self, jobs: Sequence[_Job], values: Sequence[float]) -> None:
        for job, value in zip(jobs, values, strict=True):
            if not job.node.children:
                self._sums[job.row] = value


def _shared(jobs: Sequence[_Job]) -> list[Shared]:
    """Every segment of the jobs' chains, and which of the jobs see it."""
    seen: dict[Segment, list[int]] = {}
    for i, job in enumerate(jobs):
        for segment in job.chain:
            seen.setdefault(segment, []).append(i)
    return [(segment, None if len(rows) == len(jobs) else rows) for segment, rows in seen.items()]


def _plain(model: Model, rows: Sequence[Any], row: Any, column: Any) -> Any:
    """At these places: hidden states where the head is plain, else logits. By the net's own attention, padded."""
    import torch

    ids = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True).to(model.net.device)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(one) for one in rows], batch_first=True).to(ids.device)
    inputs = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    row, column = row.to(ids.device), column.to(ids.device)
    if model.head is not None:
        return model.net.base_model(**inputs)[0][row, column]
    if "logits_to_keep" in inspect.signature(model.net.forward).parameters:
        inputs["logits_to_keep"] = ids.shape[1] - int(column.min())
    logits = model.net(**inputs).logits
    return logits[row, column - (ids.shape[1] - logits.shape[1])]


def _sum_by_row(model: Model, states: Any, targets: Any, owner: Any, rows: int) -> list[float]:
    import torch

    sums = torch.zeros(rows, dtype=torch.float64, device=states.device)
    for part, ids, row in zip(*(x.split(HEAD_CHUNK) for x in (states, targets, owner)), strict=True):
        logits = _upcast(part if model.head is None else model.head(part))
        sums.index_add_(0, row, (logits.gather(1, ids[:, None])[:, 0] - logits.logsumexp(1)).double())
    return [float(value) for value in sums]


def _upcast(logits: Any) -> Any:
    """Half precision to float32 before the log-softmax; float32 and float64 stay."""
    return logits.float() if logits.element_size() < 4 else logits
