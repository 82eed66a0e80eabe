"""Batched sums of log-probabilities. A row's sum does not depend on the other rows of its batch.

A prefix that several rows share is computed once (`prefix_tree`). Keys and values from earlier calls come from the
`PrefixCache`. The rest of each row attends to both in place (`segments`), which is the same arithmetic in another
order. Only the states that predict response tokens go through the vocabulary projection.

The tree is processed from its roots down: the keys and values of a node must exist before its children can attend to
them. The work list is a stack, so that the segments of one subtree can be freed before the next one is computed.
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
"""Response positions projected onto the vocabulary at a time. Bounds the logits at HEAD_CHUNK x vocabulary."""
MARGIN = 8
"""Last tokens of a prompt that a tokenizer may merge with the response: prompts that differ only there are one."""
CACHED_SHARE = 4
"""Upper bound on the tokens that a batch reads from the cache, as a multiple of its token budget."""


@dataclass(slots=True)
class ForwardCounters:
    """Totals of an instance since it was made."""

    rows: int = 0
    """Rows that callers asked for."""
    computed: int = 0
    """Tokens that were run through a model, over all models."""
    reused: int = 0
    """Tokens that were read from the cache instead, over all models."""
    hits: int = 0
    """Prefixes that were found in the cache."""
    bytes: int = 0
    """Bytes that the cache holds now."""
    cut_rows: int = 0
    """Rows that were shortened."""
    cut_tokens: int = 0
    """Tokens that were cut from them."""


@dataclass(frozen=True, slots=True, eq=False)
class _Job:
    """A node whose ancestors were computed. The node's own tokens are [start, node.end).

    `chain` holds the segments of the ancestors, in order of position. For a root, `cached` is the number of blocks
    before `start` that must be read from the cache first.
    """

    node: PrefixNode
    start: int
    chain: tuple[Segment, ...] = ()
    cached: int = 0

    @property
    def own(self) -> int:
        """Number of tokens that this job runs through the model."""
        return self.node.end - self.start

    @property
    def row(self) -> int:
        """A row that contains the node's tokens: the only one of a leaf, any of an inner node."""
        return self.node.rows[0]


class LogProbScorer:
    """Scores distinct rows with one model. `budget` bounds rows x longest of one pass, in computed tokens."""

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
        # A network that cannot read keys of another pass cannot read stored ones either.
        self.cache = cache if model.shares else None
        # Without the last prompt token: its state predicts the response and is computed in the leaf, never read.
        self._keys = [keys_of(model.role, ids[: start - 1]) for ids, start in rows] if self.cache else []
        self._sums = [float("nan")] * len(rows)

    def prompts(self) -> list[list[Key]]:
        """The block keys of every distinct prompt, for `PrefixCache.begin`."""
        ends = (ids[: max(start - MARGIN, 1)] for ids, start in self.rows)
        return list(dict(zip(ends, self._keys, strict=False)).values())

    def sums(self, roots: Sequence[PrefixNode]) -> list[float]:
        """For each row, the sum of log p(token | earlier tokens) over its response, added in float64.

        `roots` is the forest that `grow` made of the rows.
        """
        import torch

        # The forest is that of both models. A network that cannot share scores whole rows.
        if not self.model.shares:
            roots = grow(self.rows, share=False)
        with torch.inference_mode(), self.model.active():
            todo = list(self._batches([self._root(node) for node in roots]))
            while todo:
                todo.extend(self._batches(self._work(todo.pop())))
        return self._sums

    def _root(self, node: PrefixNode) -> _Job:
        """The job of a root, which starts where the cache ends.

        If the node is only a little longer than its cached part, computing the difference for all rows at once is not
        worth a pass. Then the node ends with the cache, and its children compute the difference each for itself.
        """
        cached = self.cache.longest(self._names(node)) if self.cache else 0
        if cached and node.children and not worth(node.end - cached * BLOCK, len(node.rows)):
            node = replace(node, end=cached * BLOCK)
        return _Job(node, cached * BLOCK, cached=cached)

    def _names(self, node: PrefixNode) -> list[Key]:
        """Keys of the node's whole blocks. For a leaf, only blocks that end before the last prompt token have keys."""
        return self._keys[node.rows[0]][: node.end // BLOCK]

    def _batches(self, jobs: Sequence[_Job]) -> Iterator[list[_Job]]:
        """Jobs in order of length, longest first, cut into batches.

        A batch ends before it would exceed the token budget or the bound on cached tokens, or when the next job is
        less than half as long as the first, because more than half of its slot would be padding.
        """
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
        """Runs a batch: sets the sums of its leaves and returns the jobs of the children of its inner nodes."""
        # Read from the cache only now, so that no more than one batch of cached prefixes is in memory.
        batch = [self._fetched(job) for job in batch]
        running = [job for job in batch if job.own]
        # Not strict: if no job's keys and values are needed again, `_forward` returns none.
        past = dict(zip(running, self._forward(running) if running else [], strict=False))
        below = []
        for job in batch:
            chain = (*job.chain, past[job]) if job in past else job.chain
            if job in past and self.cache:
                self.cache.keep(self._names(job.node), chain)
            below += [_Job(child, job.node.end, chain) for child in job.node.children]
        return below

    def _fetched(self, job: _Job) -> _Job:
        """The job with its cached blocks read into its chain, and counted."""
        self.counters.computed += job.own
        if not job.cached or not self.cache:
            return job
        self.counters.hits += 1
        self.counters.reused += job.cached * BLOCK
        return replace(job, chain=(self.cache.read(self._names(job.node)[: job.cached]),))

    def _forward(self, jobs: Sequence[_Job]) -> list[Segment]:
        """One pass: adds the sums of leaves. Returns keys and values of every job if any of them is needed again."""
        import torch

        ids = [torch.tensor(self.rows[job.row][0][job.start : job.node.end]) for job in jobs]
        row, column = self._responses(jobs)
        if self.model.shares:
            keep = any(map(self._needed, jobs))
            states, past = run(self.model.net, ids, [job.start for job in jobs], _shared(jobs), keep=keep)
            # Rows are packed one after the other. The state at position t - 1 predicts token t.
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
        """Whether children or the cache will read this job's keys and values."""
        return bool(job.node.children or (self.cache and self.cache.wants(self._names(job.node))))

    def _responses(self, jobs: Sequence[_Job]) -> tuple[Any, Any]:
        """Positions of the response tokens of the leaves in the batch: indices of jobs, and of tokens in them."""
        import torch

        none = torch.empty(0, dtype=torch.long)
        # An inner node has no response: it begins at its end, and the range is empty.
        begins = [self.rows[job.row][1] - job.start if not job.node.children else job.own for job in jobs]
        columns = [torch.arange(begin, job.own) for begin, job in zip(begins, jobs, strict=True)]
        rows = [torch.full_like(one, i) for i, one in enumerate(columns)]
        return torch.cat([none, *rows]), torch.cat([none, *columns])

    def _add(self, jobs: Sequence[_Job], values: Sequence[float]) -> None:
        for job, value in zip(jobs, values, strict=True):
            if not job.node.children:
                self._sums[job.row] = value


def _shared(jobs: Sequence[_Job]) -> list[Shared]:
    """Every distinct segment of the jobs' chains with the indices of the jobs that see it (None: all)."""
    # Segments are hashed by identity: rows under one node hold the same object.
    seen: dict[Segment, list[int]] = {}
    for i, job in enumerate(jobs):
        for segment in job.chain:
            seen.setdefault(segment, []).append(i)
    return [(segment, None if len(rows) == len(jobs) else rows) for segment, rows in seen.items()]


def _plain(model: Model, rows: Sequence[Any], row: Any, column: Any) -> Any:
    """The hidden states at these positions if the head is plain, else the logits.

    This is the path of networks that cannot share prefixes: padded rows and the network's own attention.
    """
    import torch

    ids = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True).to(model.net.device)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(one) for one in rows], batch_first=True).to(ids.device)
    inputs = {"input_ids": ids, "attention_mask": mask, "use_cache": False}
    row, column = row.to(ids.device), column.to(ids.device)
    if model.head is not None:
        return model.net.base_model(**inputs)[0][row, column]
    # Logits of the last positions only, if the network offers that: those of whole prompts would fill the memory.
    if "logits_to_keep" in inspect.signature(model.net.forward).parameters:
        inputs["logits_to_keep"] = ids.shape[1] - int(column.min())
    # The logits that are kept are the last ones, so columns are counted from the first of them.
    logits = model.net(**inputs).logits
    return logits[row, column - (ids.shape[1] - logits.shape[1])]


def _sum_by_row(model: Model, states: Any, targets: Any, owner: Any, rows: int) -> list[float]:
    """Adds log p(target) of every state to the row that owns it, chunk by chunk, in float64."""
    import torch

    sums = torch.zeros(rows, dtype=torch.float64, device=states.device)
    for part, ids, row in zip(*(x.split(HEAD_CHUNK) for x in (states, targets, owner)), strict=True):
        logits = _upcast(part if model.head is None else model.head(part))
        sums.index_add_(0, row, (logits.gather(1, ids[:, None])[:, 0] - logits.logsumexp(1)).double())
    return [float(value) for value in sums]


def _upcast(logits: Any) -> Any:
    """Half precision becomes float32, because a log-softmax in half precision loses digits. Other dtypes stay."""
    return logits.float() if logits.element_size() < 4 else logits
