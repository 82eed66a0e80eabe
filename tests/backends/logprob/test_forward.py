"""Shared and cached beginnings, and how rows are batched, change the cost and never the sum."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest

from persona_rm.backends.logprob.causal import Model, inspect
from persona_rm.backends.logprob.forward import ForwardCounters, LogProbScorer
from persona_rm.backends.logprob.prefix_cache import BLOCK, PrefixCache
from persona_rm.backends.logprob.prefix_tree import grow
from persona_rm.backends.tokens import Encoded

Tiny = Callable[..., Path]


@cache
def model_of(folder: Path) -> Model:
    from transformers import AutoModelForCausalLM

    return inspect(AutoModelForCausalLM.from_pretrained(folder, dtype="float64").eval())


@cache
def plain_net(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype="float64").eval()


@pytest.fixture
def exact(tiny_model: Tiny) -> Callable[[Sequence[Encoded]], list[float]]:
    """The definition: a row at a time, by the model as transformers gives it."""
    import torch

    @cache
    def one(row: Encoded) -> float:
        ids, start = row
        with torch.no_grad():
            logprobs = torch.log_softmax(plain_net(tiny_model(0))(torch.tensor([ids])).logits[0], -1)
        return sum(float(logprobs[t - 1, ids[t]]) for t in range(start, len(ids)))

    return lambda rows: [one(row) for row in rows]


def ids_of(draw: Random, length: int) -> tuple[int, ...]:
    return tuple(draw.randrange(2, 250) for _ in range(length))


def rows_of(users: int, prompts: int, responses: int, seed: int = 0) -> list[Encoded]:
    """Personas of 0 to 300 tokens, prompts of 1 to 90 on top, responses of 1 to 12; some prompts differ at the end."""
    draw = Random(seed)
    rows: list[Encoded] = []
    for _ in range(users):
        persona = ids_of(draw, draw.choice((0, 63, 64, 65, draw.randint(0, 300))))
        for _ in range(prompts):
            prompt = (*persona, *ids_of(draw, draw.randint(1, 90)))
            for last in (prompt[-1], draw.randrange(2, 250)):
                prompt = (*prompt[:-1], last)
                rows += [((*prompt, *ids_of(draw, draw.randint(1, 12))), len(prompt)) for _ in range(responses)]
    draw.shuffle(rows)
    return list(dict.fromkeys(rows))


def sums(model: Model, rows: Sequence[Encoded], prefixes: PrefixCache | None = None, **other: Any) -> list[float]:
    scorer = LogProbScorer(model, rows, **{"budget": 2000, "cache": prefixes, **other})
    if prefixes:
        prefixes.begin(scorer.prompts())
    return scorer.sums(grow(rows))


Exact = Callable[[Sequence[Encoded]], list[float]]


@pytest.mark.parametrize("budget", [1, 300, 100_000])
def test_sharing_gives_the_sums_of_the_definition(tiny_model: Tiny, exact: Exact, budget: int) -> None:
    model, rows = model_of(tiny_model(0)), rows_of(3, 3, 2)
    assert model.shares
    assert any(root.children for root in grow(rows))
    assert sums(model, rows, budget=budget) == pytest.approx(exact(rows), abs=1e-9)


@pytest.mark.parametrize("blocks", [1, 3, 7, 1000])
def test_caches_of_any_size_give_the_sums_of_the_definition(tiny_model: Tiny, exact: Exact, blocks: int) -> None:
    """Calls that mix users, prompts and single rows: small caches lose blocks between the calls and within them."""
    model, rows, draw = model_of(tiny_model(0)), rows_of(4, 3, 2, seed=1), Random(2)
    prefixes, counters = PrefixCache(blocks * block_bytes()), ForwardCounters()
    for _ in range(12):
        call = draw.sample(rows, draw.randint(1, 12))
        assert sums(model, call, prefixes, counters=counters) == pytest.approx(exact(call), abs=1e-9)
        assert prefixes.bytes <= prefixes.capacity
    assert counters.hits > 0
    assert counters.reused >= counters.hits * BLOCK


def block_bytes() -> int:
    """Of the tiny model: 2 layers, keys and values of 32 numbers of 8 bytes."""
    return 2 * 2 * 32 * 8 * BLOCK


def test_grouped_heads_and_their_cache(tiny_model: Tiny) -> None:
    import torch

    folder, rows = tiny_model(0, num_attention_heads=4, num_key_value_heads=2), rows_of(2, 2, 3, seed=3)
    model, prefixes = model_of(folder), PrefixCache(10**9)
    assert model.shares
    expected = sums(Model(plain_net(folder), model.head, False, None, 300), rows)
    for _ in range(3):
        assert sums(model, rows, prefixes) == pytest.approx(expected, abs=1e-9)
    assert prefixes.bytes > 0
    assert torch.is_inference_mode_enabled() is False


def test_a_prompt_is_computed_once_for_its_responses_and_read_the_third_time(tiny_model: Tiny) -> None:
    model, draw = model_of(tiny_model(0)), Random(0)
    prompt = ids_of(draw, 200)
    rows = [((*prompt, *ids_of(draw, 10)), 200) for _ in range(8)]
    prefixes, counters = PrefixCache(10**9), ForwardCounters()
    taken = []
    for _ in range(3):
        before = counters.computed
        sums(model, rows, prefixes, counters=counters)
        taken.append(counters.computed - before)
    assert taken[:2] == [199 + 8 * 11] * 2
    assert taken[2] == 8 * (200 + 10 - 3 * BLOCK)  # 7 tokens behind the third block are not worth a pass of their own
    assert (counters.hits, counters.reused) == (1, 3 * BLOCK)


def test_a_new_prompt_of_a_known_person_reads_the_persona(tiny_model: Tiny) -> None:
    model, draw, prefixes, counters = model_of(tiny_model(0)), Random(0), PrefixCache(10**9), ForwardCounters()
    persona = ids_of(draw, 4 * BLOCK)
    prompts = [(*persona, *ids_of(draw, 30)) for _ in range(3)]
    rows = [((*prompt, 5, 6), len(prompt)) for prompt in prompts]
    sums(model, rows[:2], prefixes, counters=counters)
    assert (prefixes.bytes, counters.hits) == (4 * block_bytes(), 0)
    before = counters.computed
    sums(model, rows[2:], prefixes, counters=counters)
    assert (counters.computed - before, counters.reused) == (32, 4 * BLOCK)


def test_the_head_sees_response_positions_only(tiny_model: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from persona_rm.backends.logprob import forward

    model, rows, seen = model_of(tiny_model(0)), rows_of(2, 2, 2), []
    monkeypatch.setattr(forward, "HEAD_CHUNK", 7)
    hook = model.head.register_forward_hook(lambda _module, given, _out: seen.append(tuple(given[0].shape)))
    sums(model, rows)
    hook.remove()
    assert sum(n for n, _ in seen) == sum(len(ids) - start for ids, start in rows)
    assert max(n for n, _ in seen) == 7
    assert isinstance(model.head, torch.nn.Linear)


def test_batches_keep_the_budget_and_do_not_pad_short_rows_to_long_ones(
    tiny_model: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    from persona_rm.backends.logprob import forward

    model, sizes, original = model_of(tiny_model(0)), [], forward.run
    monkeypatch.setattr(
        forward, "run", lambda net, ids, *rest, **kw: sizes.append([*map(len, ids)]) or original(net, ids, *rest, **kw)
    )
    rows = rows_of(4, 3, 2, seed=5)
    sums(model, rows, budget=600)
    assert all(len(batch) * max(batch) <= 600 or len(batch) == 1 for batch in sizes)
    assert all(max(batch) <= 2 * min(batch) + BLOCK for batch in sizes)
    assert sum(map(len, sizes)) < 2 * len(rows)
    sizes.clear()
    draw = Random(6)
    sums(model, [((*ids_of(draw, n), 7), n) for n in (500, 40, 41, 42)], budget=100_000)
    assert sorted(sizes) == [[43, 42, 41], [501]]


@pytest.mark.parametrize("rope", ["dynamic", "sliding", "longrope"])
def test_what_cannot_be_shared_is_read_whole(rope: str, caplog: pytest.LogCaptureFixture) -> None:
    """Mistral's cache forgets early positions; some positions depend on the length of the whole row."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    sizes |= {"num_key_value_heads": 1, "vocab_size": 300, "max_position_embeddings": 512}
    torch.manual_seed(0)
    if rope == "sliding":
        net = MistralForCausalLM(MistralConfig(**sizes, sliding_window=16))
    else:
        factors = {"short_factor": [1.0] * 8, "long_factor": [2.0] * 8, "original_max_position_embeddings": 64}
        more = factors if rope == "longrope" else {"factor": 2.0}
        net = LlamaForCausalLM(LlamaConfig(**sizes, rope_parameters={"rope_type": rope, "rope_theta": 1e4, **more}))
    found = inspect(net.double().eval())
    assert (found.shares, found.net.config._attn_implementation) == (False, "sdpa")
    assert found.head is not None
    assert "computed again for every row" in caplog.text
    draw = Random(0)
    rows = [((*ids_of(draw, 80 + n), 7, n), 79 + n) for n in (3, 9, 40)]
    with torch.no_grad():
        logprobs = [net(torch.tensor([ids])).logits[0].log_softmax(-1) for ids, _ in rows]
    expected = [
        sum(float(one[t - 1, ids[t]]) for t in range(start, len(ids)))
        for one, (ids, start) in zip(logprobs, rows, strict=True)
    ]
    assert sums(found, rows, PrefixCache(10**9)) == pytest.approx(expected, abs=1e-9)
