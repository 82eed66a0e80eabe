"""`VllmLogProb` over real vLLM: every sum is that of a float64 loop, whatever the prefix cache holds."""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

from persona_rm.backends.base import SequenceLogProb
from persona_rm.backends.logprob.vllm_logprob import VllmLogProb, VllmOptions, tail_sum
from persona_rm.backends.tokens import Encoded, token_ids
from persona_rm.errors import ScoreError

pytestmark = pytest.mark.slow

# float32 has 24 bits: logits of these models reach 10 to 30, so an entry is uncertain by some 1e-6, and
# sums differ from float64 by less than 1e-5 a token. What the guard is for is wrong by tenths to thousands of nats.
PER_TOKEN = 1e-5
BLOCK = 32
SHAPE = {"hidden_size": 64, "num_attention_heads": 2}
SMALL_ENGINE = {
    "gpu_memory_utilization": 0.3,
    "enforce_eager": True,
    "block_size": BLOCK,
    "num_gpu_blocks_override": 200,
    "max_num_batched_tokens": 512,  # so that long rows are computed in chunks
    "max_num_seqs": 64,
}


@cache
def exact_model(folder: Path) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()


def one_by_one(folder: Path, row: Encoded) -> float:
    """The definition in float64: one row, no cache."""
    import torch

    ids, start = row
    with torch.no_grad():
        logprobs = torch.log_softmax(exact_model(folder)(torch.tensor([ids])).logits[0], -1)
    return math.fsum(float(logprobs[t - 1, ids[t]]) for t in range(start, len(ids)))


@pytest.fixture(scope="module")
def real(tiny_model):
    pytest.importorskip("vllm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
        patch.setenv("HF_HUB_OFFLINE", "1")
        # a tiny model gains nothing from threads, and bound to cores they stall on a busy machine
        patch.setenv("VLLM_CPU_OMP_THREADS_BIND", "nobind")
        patch.setenv("OMP_NUM_THREADS", "1")
        policy, reference = tiny_model(0, **SHAPE), tiny_model(1, **SHAPE)
        made = VllmLogProb(policy, reference, dtype="float32", options=VllmOptions(**SMALL_ENGINE))
        yield made
        made.close()


def draw_ids(seed: int, size: int) -> list[int]:
    return Random(seed).choices(range(2, 280), k=size)


def score(backend: VllmLogProb, rows: Sequence[tuple[list[int], list[int]]]) -> list[SequenceLogProb]:
    return backend.logprob_ids([prompt for prompt, _ in rows], [response for _, response in rows])


def check(backend: VllmLogProb, rows: Sequence[tuple[list[int], list[int]]]) -> int:
    """Every sum is right under both models; says how many rows were rescored."""
    before = backend.counters.rescored
    for one, (prompt, response) in zip(score(backend, rows), rows, strict=True):
        row = ((*prompt, *response), len(prompt))
        assert one.policy == pytest.approx(one_by_one(backend.policy, row), abs=PER_TOKEN * one.tokens)
        assert one.reference == pytest.approx(one_by_one(backend.reference, row), abs=PER_TOKEN * one.tokens)
        assert one.tokens == len(response)
    return backend.counters.rescored - before


def test_rows_of_one_prompt_in_one_call_read_its_blocks(real):
    prompt = draw_ids(1, 600)
    before = real.counters.cached
    rows = [(prompt, draw_ids(10 + i, 200)) for i in range(6)]
    assert check(real, rows) == 0
    assert real.counters.cached - before == 2 * 5 * (600 // BLOCK * BLOCK)


def test_rows_sent_before_are_spoiled_by_the_cache_and_rescored(real):
    rows = [(draw_ids(2, 300), draw_ids(20 + i, 100)) for i in range(2)]
    assert check(real, rows) == 0
    again = [((*prompt, *response), len(prompt)) for prompt, response in rows]
    for row, output in zip(again, real._run(real._policy, again, read=True), strict=True):
        assert output.num_cached_tokens > row[1] + 1
        assert tail_sum(output, row) is tail_sum(output, row, 1) is None
    assert check(real, rows) == 4


@pytest.mark.parametrize("size", [BLOCK * 10, BLOCK, 1])
def test_prompts_of_whole_blocks_and_of_one_token(real, size):
    before = real.counters.completed
    rows = [(draw_ids(1000 + size, size), draw_ids(30 + i, length)) for i, length in enumerate((70, 71, 5, 1))]
    assert check(real, rows) == 0
    assert real.counters.completed - before == (0 if size == 1 else 2 * 3)


def test_responses_within_one_another_and_shorter_than_a_block(real):
    prompt, long = draw_ids(4, 130), draw_ids(40, 150)
    rows = [(prompt, long[:size]) for size in (1, 2, 5, 31, 100, 150)]
    rows += [(prompt, [*long[:40], *draw_ids(41, 9)]), (prompt, [7]), (prompt[:60], long)]
    assert 2 <= check(real, rows) < 2 * len(rows)
    short = [(draw_ids(5, 90), draw_ids(50 + i, 3)) for i in range(4)]
    assert check(real, short) == 0
    assert check(real, [(draw_ids(5, 90), draw_ids(50 + i, 3)) for i in range(4)]) == 0


def test_rows_of_more_tokens_than_the_cache_holds(real):
    """6,400 tokens fit; 24 rows of 900 wait for one another, and blocks are thrown out while others are read."""
    rows = [(draw_ids(60 + i % 6, 500), draw_ids(70 + i, 400)) for i in range(24)]
    check(real, rows)
    check(real, rows[::-1])


def test_texts_and_the_longest_row(real):
    from transformers import AutoTokenizer

    texts = (["What is law?\n\n"] * 3, ["I like the law.", "", "Zürich 🎭"])
    encoded = token_ids(AutoTokenizer.from_pretrained(real.policy), *texts)
    for one, row in zip(real.logprob(*texts), encoded, strict=True):
        assert one.policy == pytest.approx(one_by_one(real.policy, row), abs=PER_TOKEN * one.tokens)
    assert real.limit == 1023
    assert check(real, [(draw_ids(8, 1000), draw_ids(9, 23))]) == 0
    with pytest.raises(ScoreError, match="limit of 1023 tokens, nothing was cut: row 0: 1024 tokens"):
        score(real, [(draw_ids(8, 1000), draw_ids(9, 24))])
