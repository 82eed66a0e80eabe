"""Attention of packed rows: over their own tokens, and over keys and values that several share, which are not copied.

A pass is one long sequence, the rows' tokens one after the other: no padding in all that works token by token. A
softmax over two sets of keys is the mean of the softmaxes over each, weighted by their normalisers (Milakov and
Gimelshein 2018; for shared prefixes Juravsky et al. 2024, "Hydragen"). So the queries of all rows read a shared
segment in one product, and each row reads its own tokens causally.
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


Shared = tuple[Segment, Sequence[int] | None]
"""A segment, and which rows of a pass see it (None: all)."""


@dataclass(frozen=True, slots=True)
class Packing:
    """How rows of these lengths lie in a pass. `slots`: where each token goes in rows padded to one length, None where
    they are equally long. `shared`: each segment, and the index of the tokens that see it (None: all)."""

    lengths: Sequence[int]
    slots: Any
    shared: Sequence[tuple[Segment, Any]]


def packing(lengths: Sequence[int], shared: Sequence[Shared], device: Any) -> Packing:
    """The indices, made once for all layers."""
    import torch

    sizes = torch.tensor(lengths)
    row = torch.arange(len(lengths)).repeat_interleave(sizes)
    column = torch.arange(len(row)) - (sizes.cumsum(0) - sizes)[row]
    slots = None if len(set(lengths)) == 1 else (row * max(lengths) + column).to(device)
    tokens = [
        None if rows is None else torch.isin(row, torch.tensor(rows)).nonzero()[:, 0].to(device) for _, rows in shared
    ]
    return Packing(lengths, slots, [(segment, index) for (segment, _), index in zip(shared, tokens, strict=True)])


_ACTIVE: ContextVar[Packing | None] = ContextVar("packing", default=None)


@contextmanager
def seeing(packed: Packing) -> Iterator[None]:
    """Inside, a forward pass of one long sequence is that of these rows, each behind the segments that it sees."""
    token = _ACTIVE.set(packed)
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
    """transformers' signature: query (1, heads, tokens, width) -> (1, tokens, heads, width), rows as `seeing` says.

    Raises `PlainOnlyError` for an argument that it would have to ignore.
    """
    other.pop("dropout", None)
    if odd := sorted(k for k, v in other.items() if v is not None and v is not False and k not in HARMLESS):
        raise PlainOnlyError(f"its attention takes {', '.join(odd)}")
    packed = _ACTIVE.get()
    if packed is None:
        raise PlainOnlyError("it was called without rows")
    out, norm = _own(query, key, value, scaling, packed)
    for segment, tokens in packed.shared:
        keys, values = segment.keys[module.layer_idx], segment.values[module.layer_idx]
        if tokens is None:
            out, norm = _merge((out, norm), _fold(query, keys, values, scaling))
        else:
            found = _fold(query[:, :, tokens], keys, values, scaling)
            out[:, :, tokens], norm[:, :, tokens] = _merge((out[:, :, tokens], norm[:, :, tokens]), found)
    return out.transpose(1, 2), None


def _own(query: Any, key: Any, value: Any, scale: float | None, packed: Packing) -> tuple[Any, Any]:
    """Every row over its own tokens. Rows are padded on the right, where no query looks, so there is no mask."""
    times, heads, total = query.shape[1] // key.shape[1], query.shape[1], query.shape[2]
    query, key, value = (_rows(states[0], packed) for states in (query, key, value))
    if times > 1:
        key, value = key.repeat_interleave(times, dim=1), value.repeat_interleave(times, dim=1)
    out, norm = _part(query, key, value, scale, causal=True)
    out, norm = out.transpose(0, 1).reshape(heads, -1, out.shape[-1]), norm.transpose(0, 1).reshape(heads, -1)
    if packed.slots is not None:
        out, norm = out[:, packed.slots], norm[:, packed.slots]
    return out.reshape(1, heads, total, -1), norm.reshape(1, heads, total)


def _rows(states: Any, packed: Packing) -> Any:
    """(heads, all tokens, width) -> (rows, heads, tokens, width)."""
    heads, _, width = states.shape
    if packed.slots is not None:
        padded = states.new_zeros(heads, len(packed.lengths) * max(packed.lengths), width)
        padded[:, packed.slots] = states
        states = padded
    return states.reshape(heads, len(packed.lengths), -1, width).transpose(0, 1)


def _fold(query: Any, key: Any, value: Any, scale: float | None) -> tuple[Any, Any]:
    """All tokens' queries, and all heads that share a key head, as one long sequence over one segment."""
    _, heads, tokens, width = query.shape
    out, norm = _part(query.reshape(1, key.shape[1], -1, width), key, value, scale, causal=False)
    return out.reshape(1, heads, tokens, width), norm.reshape(1, heads, tokens)


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
