"""Shared prompts and batch cuts change the cost, never the sum."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from persona_rm.backends.forward import MARGIN, MIN_SHARED, batch_sums, batches, prefix
from persona_rm.backends.host_tokens import Encoded
from persona_rm.backends.logprob import TransformersLogProb


def rows_of(prompts: int, responses: int, seed: int = 0) -> list[Encoded]:
    """Random ids: prompts of 5 to 60 tokens, each with responses of 1 to 12."""
    draw = Random(seed)
    made = [[draw.randrange(2, 250) for _ in range(draw.randint(5, 60))] for _ in range(prompts)]
    return [
        ((*prompt, *(draw.randrange(2, 250) for _ in range(draw.randint(1, 12)))), len(prompt))
        for prompt in made
        for _ in range(responses)
    ]


@pytest.mark.parametrize("seed", range(4))
def test_sharing_gives_the_sums_of_not_sharing(tiny_model: Callable[..., Path], seed: int) -> None:
    import torch

    model = TransformersLogProb(tiny_model(0), dtype="float64")._policy
    assert model.shares
    rows = [row for row in rows_of(6, 3, seed) if prefix(row)]
    assert len({prefix(row) for row in rows}) < len(rows)
    assert len({len(prefix(row)) for row in rows}) > 1
    with torch.inference_mode():
        shared, plain = batch_sums(model, rows), batch_sums(replace(model, shares=False), rows)
    assert shared == pytest.approx(plain, abs=1e-9)


@pytest.mark.parametrize("budget", [1, 150, 100_000])
def test_every_row_comes_once_within_the_budget(budget: int) -> None:
    rows = [*rows_of(9, 3), *rows_of(5, 1, seed=1)]
    for share in (True, False):
        found = list(batches(rows, budget, share=share))
        assert sorted(i for batch in found for i in batch) == list(range(len(rows)))
        longest = [max(len(rows[i][0]) for i in batch) * len(batch) for batch in found]
        assert all(cost <= budget or len(batch) == 1 for cost, batch in zip(longest, found, strict=True))
    assert list(batches([], budget, share=True)) == []


def test_rows_of_one_prompt_stay_together() -> None:
    rows = rows_of(9, 3)
    shared = next(batches(rows, 100_000, share=True))
    assert all(prefix(rows[i]) for i in shared)
    prefixes = [prefix(rows[i]) for i in shared]
    assert [prefixes.count(one) for one in prefixes] == [3] * len(shared)
    assert all(prefixes[i] == prefixes[i + 1] for i in range(0, len(shared), 3))


def test_what_may_be_shared() -> None:
    ids = tuple(range(100))
    assert prefix((ids, MARGIN + MIN_SHARED)) == ids[:MIN_SHARED]
    assert prefix((ids, MARGIN + MIN_SHARED - 1)) == ()
    assert prefix((ids, 1)) == ()


def test_a_sliding_window_is_not_shared(tmp_path: Path) -> None:
    """Mistral's cache forgets early positions, so it is not copied."""
    from transformers import MistralConfig, MistralForCausalLM

    from persona_rm.backends.forward import inspect

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = MistralConfig(**sizes, num_key_value_heads=1, vocab_size=300, sliding_window=16)
    found = inspect(MistralForCausalLM(config).eval())
    assert not found.shares
    assert found.head is not None
