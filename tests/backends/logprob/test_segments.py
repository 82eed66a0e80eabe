"""Attention in parts is attention over all keys at once."""

import pytest

from persona_rm.backends.logprob.segments import (
    PlainOnlyError,
    Segment,
    _by_hand,
    _part,
    attend,
    joined,
    packing,
    seeing,
    segment_of,
)


class Layer:
    layer_idx = 0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("rows", [None, [0, 2]])
@pytest.mark.parametrize("key_heads", [1, 2, 4])
@pytest.mark.parametrize("lengths", [(9, 9, 9), (9, 1, 40)])
def test_rows_behind_segments(dtype: str, rows: list[int] | None, key_heads: int, lengths: tuple[int, ...]) -> None:
    import torch

    torch.manual_seed(0)
    total, kind = sum(lengths), getattr(torch, dtype)
    make = lambda *shape: torch.randn(*shape, dtype=kind)  # noqa: E731
    query, key, value = make(1, 4, total, 8), make(1, key_heads, total, 8), make(1, key_heads, total, 8)
    past = [(make(1, key_heads, n, 8), make(1, key_heads, n, 8)) for n in (5, 70)]
    with seeing(packing(lengths, [(Segment([k], [v], k.shape[2]), rows) for k, v in past], "cpu")):
        found, _ = attend(Layer(), query, key, value, None, 0.3)
    parts = [x.split(lengths, dim=2) for x in (query, key, value)]
    for i, (q, k, v, part) in enumerate(zip(*parts, found.split(lengths, dim=1), strict=True)):
        before = past if rows is None or i in rows else []
        keys = torch.cat([*(one for one, _ in before), k], 2).repeat_interleave(4 // key_heads, 1)
        values = torch.cat([*(one for _, one in before), v], 2).repeat_interleave(4 // key_heads, 1)
        mask = torch.ones(lengths[i], keys.shape[2], dtype=torch.bool).tril(keys.shape[2] - lengths[i])
        expected = torch.nn.functional.scaled_dot_product_attention(q, keys, values, mask, scale=0.3)
        assert torch.allclose(part.transpose(1, 2), expected, atol=1e-12 if dtype == "float64" else 1e-5)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_the_definition_and_the_kernel_agree(causal: bool, scale: float | None) -> None:
    import torch

    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 3, 40, 8, dtype=torch.float64) for _ in range(3))
    for a, b in zip(
        _part(query, key, value, scale, causal=causal), _by_hand(query, key, value, scale, causal=causal), strict=True
    ):
        assert torch.allclose(a, b, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16", "float64"])
def test_kernels_of_a_gpu(dtype: str) -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 4, 77, 64, dtype=getattr(torch, dtype), device="cuda") for _ in range(3))
    close = {"float64": 1e-12, "float32": 1e-4}.get(dtype, 2e-2)
    for causal in (True, False):
        wide = [x.double() for x in (query, key, value)]
        found, expected = _part(query, key, value, None, causal=causal), _by_hand(*wide, None, causal=causal)
        assert all(torch.allclose(a.double(), b, atol=close) for a, b in zip(found, expected, strict=True))


def test_what_it_would_ignore_is_refused() -> None:
    import torch

    x = torch.zeros(1, 1, 2, 8)
    with seeing(packing([2], [], "cpu")):
        attend(Layer(), x, x, x, None, sliding_window=None, output_attentions=False, dropout=0.0)
    with pytest.raises(PlainOnlyError, match="outside of `seeing`"):
        attend(Layer(), x, x, x, None)
    for odd in ({"sliding_window": 4}, {"softcap": 50.0}, {"s_aux": torch.zeros(1)}):
        with pytest.raises(PlainOnlyError, match=next(iter(odd))):
            attend(Layer(), x, x, x, None, **odd)


def test_a_chain_is_cut_and_joined() -> None:
    import torch

    whole = [torch.randn(1, 2, 10, 4) for _ in range(4)]
    parts = [
        Segment([x[:, :, a:b] for x in whole[:2]], [x[:, :, a:b] for x in whole[2:]], b - a)
        for a, b in ((0, 3), (3, 4), (4, 10))
    ]
    assert torch.equal(joined(parts, 2, 7), torch.cat(whole)[:, :, 2:7])
    again = segment_of([joined(parts, 0, 5), joined(parts, 5, 10)])
    assert again.length == 10
    assert all(torch.equal(a, b) for a, b in zip((*again.keys, *again.values), whole, strict=True))
