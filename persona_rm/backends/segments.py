"""Attention over a row's own tokens and over keys and values that several rows share, which are never copied.

A softmax over two sets of keys is the mean of the softmaxes over each, weighted by their normalisers (Milakov and
Gimelshein 2018; for shared prefixes Juravsky et al. 2024, "Hydragen"). So the queries of all rows read a shared
segment in one product, and each row reads its own tokens causally. Right padding needs no mask: no query looks to its
right.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

NAME = "persona_rm_segments"
"""Under this name transformers knows `attend`. Attention without a mask function gets no mask."""
HARMLESS = {"position_ids", "use_cache", "output_attentions", "output_hidden_states", "return_dict", "cache_position"}


class PlainOnlyError(Exception):
    """This model's attention does more than `attend` does (a window, a soft cap, sinks)."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Keys and values of consecutive positions: per layer a tensor (1, key heads, length, head width)."""

    keys: Sequence[Any]
    values: Sequence[Any]
    length: int


Shared = tuple[Segment, Any]
"""A segment, and the index of the batch's rows that see it (None: all of them)."""

_ACTIVE: ContextVar[Sequence[Shared]] = ContextVar("segments", default=())


@contextmanager
def seeing(shared: Sequence[Shared]) -> Iterator[None]:
    """Inside, every row of a forward pass also sees its segments, which lie before it."""
    token = _ACTIVE.set(shared)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def register() -> None:
    """Makes `attend` known to transformers."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)


def attend(
    module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float | None = None, **other: Any
) -> tuple[Any, None]:
    """transformers' signature: query (rows, heads, tokens, width) -> (rows, tokens, heads, width).

    Raises `PlainOnlyError` for an argument that it would have to ignore.
    """
    other.pop("dropout", None)
    if odd := sorted(k for k, v in other.items() if v is not None and v is not False and k not in HARMLESS):
        raise PlainOnlyError(f"its attention takes {', '.join(odd)}")
    times = query.shape[1] // key.shape[1]
    out, norm = _part(query, _repeat(key, times), _repeat(value, times), scaling, causal=True)
    for segment, rows in _ACTIVE.get():
        layer = module.layer_idx
        seen = query if rows is None else query[rows]
        found = _fold(seen, segment.keys[layer], segment.values[layer], scaling)
        if rows is None:
            out, norm = _merge((out, norm), found)
        else:
            out[rows], norm[rows] = _merge((out[rows], norm[rows]), found)
    return out.transpose(1, 2), None


def _repeat(states: Any, times: int) -> Any:
    return states if times == 1 else states.repeat_interleave(times, dim=1)


def _fold(query: Any, key: Any, value: Any, scale: float | None) -> tuple[Any, Any]:
    """All rows' queries, and all heads that share a key head, as one long sequence over one segment."""
    rows, heads, tokens, width = query.shape
    keys = key.shape[1]
    long = query.reshape(rows, keys, -1, width).transpose(0, 1).reshape(1, keys, -1, width)
    out, norm = _part(long, key, value, scale, causal=False)
    out = out.reshape(keys, rows, -1, width).transpose(0, 1).reshape(rows, heads, tokens, width)
    return out, norm.reshape(keys, rows, -1).transpose(0, 1).reshape(rows, heads, tokens)


def _merge(one: tuple[Any, Any], other: tuple[Any, Any]) -> tuple[Any, Any]:
    import torch

    norm = torch.logaddexp(one[1], other[1])
    weight = torch.sigmoid(other[1] - one[1])[..., None].to(one[0].dtype)
    return torch.lerp(one[0], other[0], weight), norm


def _part(query: Any, key: Any, value: Any, scale: float | None, *, causal: bool) -> tuple[Any, Any]:
    """Attention, and the log of its normaliser per query, in float32 or better. Heads of query and key are equal."""
    import torch

    aten = torch.ops.aten
    if query.device.type == "cpu":
        found = aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, causal, scale=scale)
        return found[0], found[1]
    width = query.shape[-1]
    if query.device.type != "cuda" or query.element_size() > 4 or width % 8 or width > 256:
        return _by_hand(query, key, value, scale, causal=causal)
    if query.element_size() == 2 and torch.cuda.get_device_capability(query.device) >= (8, 0):
        found = aten._scaled_dot_product_flash_attention(query, key, value, 0.0, causal, False, scale=scale)
    else:
        found = aten._scaled_dot_product_efficient_attention(query, key, value, None, True, 0.0, causal, scale=scale)
    return found[0], found[1][..., : query.shape[2]]  # the kernels round the number of queries up


def _by_hand(query: Any, key: Any, value: Any, scale: float | None, *, causal: bool) -> tuple[Any, Any]:
    """The definition, where no kernel gives the normaliser."""
    import torch

    logits = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    if logits.element_size() < 4:
        logits = logits.float()
    if causal:
        later = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).triu(1)
        logits = logits.masked_fill(later, -torch.inf)
    return logits.softmax(-1).to(value.dtype) @ value, logits.logsumexp(-1)


def joined(chain: Sequence[Segment], begin: int, end: int) -> Any:
    """A copy of positions [begin, end) of segments that begin at 0: (2 x layers, heads, tokens, width)."""
    import torch

    pieces, at = [], 0
    for segment in chain:
        low, high = max(begin - at, 0), min(end - at, segment.length)
        if low < high:
            pieces.append(torch.cat([part[:, :, low:high] for part in (*segment.keys, *segment.values)]))
        at += segment.length
    return torch.cat(pieces, dim=2)


def segment_of(blocks: Sequence[Any]) -> Segment:
    """The inverse: one segment of blocks that follow one another."""
    import torch

    whole = torch.cat(list(blocks), dim=2)
    keys, values = whole.split(1)[: len(whole) // 2], whole.split(1)[len(whole) // 2 :]
    return Segment(keys, values, whole.shape[2])
