"""The rows that a small starting model is trained on: documents of the simulator's corpus, tokenised and batched."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import count
from multiprocessing import get_context
from random import Random
from typing import Any

from persona_rm.prompts import load_prompts
from persona_rm.simulator.corpus import Document, documents
from persona_rm.simulator.simulator import Simulator, SimulatorConfig
from persona_rm.space import load_space

EOS = "</s>"
CHUNK = 256
"""Number of documents that a worker makes at a time."""
POOL_BATCHES = 16
"""Batches that are collected before they are formed, so that documents of similar length can share one."""
TrainingRow = tuple[int, list[int]]
"""Number of tokens that are given (no loss on them), and all tokens."""


def texts(simulator: SimulatorConfig, prompts: str, space: str, seed: int, start: int, count: int) -> list[Document]:
    """Documents of the corpus as (given, read). `read` ends as a response does in DPO rows (`backends.tokens`)."""
    corpus = documents(Simulator(simulator, load_space(space)), load_prompts(prompts), seed, count, start)
    return [(given, f"{read} {EOS}") for given, read in corpus]


@dataclass(frozen=True, slots=True)
class RowPool:
    """Batches of up to `batch_tokens` padded tokens; documents of similar length share a batch. `end` is the first
    chunk that is not included, `too_long` the number of documents that were left out."""

    batches: list[list[TrainingRow]]
    end: int
    too_long: int


def row_pools(
    make: Callable[[int, int], list[Document]],
    tokenizer: Any,
    *,
    first: int,
    workers: int,
    batch_tokens: int,
    max_tokens: int,
) -> Iterator[RowPool]:
    """The corpus from chunk `first` on. The iterator is endless."""
    pool: list[TrainingRow] = []
    too_long = 0
    with get_context("spawn").Pool(workers) as processes:
        for number, chunk in _chunks(processes, partial(_made, make), first, workers * 3):
            # A document without a given part is learned from its first token: the placeholder's length is unused.
            given = tokenizer([given or EOS for given, _ in chunk])["input_ids"]
            whole = tokenizer([given + read for given, read in chunk])["input_ids"]
            for (text, _), given_ids, ids in zip(chunk, given, whole, strict=True):
                if len(ids) > max_tokens:
                    too_long += 1
                else:
                    pool.append((len(given_ids) if text else 0, ids))
            # A pool ends with a whole chunk, so a run that continues knows the next one by its number.
            if sum(len(row[1]) for row in pool) > POOL_BATCHES * batch_tokens:
                yield RowPool(_bucket(pool, batch_tokens), number + 1, too_long)
                pool, too_long = [], 0


def _made(make: Callable[[int, int], list[Document]], chunk: int) -> list[Document]:
    return make(chunk * CHUNK, CHUNK)


def _chunks(
    workers: Any, work: Callable[[int], list[Document]], first: int, ahead: int
) -> Iterator[tuple[int, list[Document]]]:
    """Like `Pool.imap`, but at most `ahead` chunks in advance, because the corpus is endless."""
    waiting = [workers.apply_async(work, (first + i,)) for i in range(ahead)]
    for number in count(first):
        # In the order of the chunks, whichever worker is faster: the same seed gives the same weights.
        yield number, waiting.pop(0).get()
        waiting.append(workers.apply_async(work, (number + ahead,)))


def _bucket(rows: list[TrainingRow], batch_tokens: int) -> list[list[TrainingRow]]:
    rows = sorted(rows, key=lambda row: len(row[1]))
    batches: list[list[TrainingRow]] = [[]]
    for row in rows:
        if batches[-1] and (len(batches[-1]) + 1) * len(row[1]) > batch_tokens:
            batches.append([])
        batches[-1].append(row)
    # Batches of similar lengths would follow one another. The shuffle depends on the pool alone, so a run that
    # continues repeats it.
    Random(len(rows)).shuffle(batches)
    return batches
