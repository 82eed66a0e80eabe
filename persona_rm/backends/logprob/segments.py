"""Attention of packed rows over their own tokens and over shared keys and values, which are not copied.

A forward pass is one long sequence: the tokens of all rows, one row after the other. So layers that work token by
token (projections, MLP, norms) need no padding. Attention over two sets of keys is the average of the attentions over
each set, weighted by the softmax normalisers (Milakov and Gimelshein 2018; for shared prefixes Juravsky et al. 2024,
"Hydragen"). So the queries of all rows read a shared segment in one matrix product, and each row reads its own tokens
causally.

`attend` is registered with transformers and knows the rows of the current pass from a context variable (`seeing`),
because transformers passes no arguments of ours through a model.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

NAME = "persona_rm_segments"
"""The name of `attend` in transformers. transformers builds no mask for an attention without a mask function."""
HARMLESS = {"position_ids", "use_cache", "output_attentions", "output_hidden_states", "return_dict", "cache_position"}
"""Arguments of an attention call that do not change its result."""


class PlainOnlyError(Exception):
    """The model's attention does more than `attend` does, such as a window, a soft cap or sinks."""


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """Keys and values of consecutive positions: one tensor (1, key heads, length, head width) per layer."""

    keys: Sequence[Any]
    values: Sequence[Any]
    length: int


Shared = tuple[Segment, Sequence[int] | None]
"""A segment, and the indices of the rows of a pass that see it (None: all rows)."""


@dataclass(frozen=True, slots=True)
class Packing:
    """The layout of a pass over rows of these lengths.

    `slots` maps each token to its place in rows that are padded to one length; it is None if all rows have the same
    length. `shared` holds each segment with the indices of the tokens that see it (None: all tokens).
    """

    lengths: Sequence[int]
    slots: Any
    shared: Sequence[tuple[Segment, Any]]


def packing(lengths: Sequence[int], shared: Sequence[Shared], device: Any) -> Packing:
    """The layout of a pass. It is made once and used by all layers."""
    import torch

    sizes = torch.tensor(lengths)
    row = torch.arange(len(lengths)).repeat_interleave(sizes)
    column = torch.arange(len(row)) - (sizes.cumsum(0) - sizes)[row]  # position within the row: index minus row start
    slots = None if len(set(lengths)) == 1 else (row * max(lengths) + column).to(device)
    seen = []
    for segment, rows in shared:
        tokens = None if rows is None else torch.isin(row, torch.tensor(rows)).nonzero()[:, 0].to(device)
        seen.append((segment, tokens))
    return Packing(lengths, slots, seen)


_ACTIVE: ContextVar[Packing | None] = ContextVar("packing", default=None)


@contextmanager
def seeing(packed: Packing) -> Iterator[None]:
    """Inside this context, a forward pass is one over these packed rows, each after the segments that it sees."""
    token = _ACTIVE.set(packed)
    try:
        yield
    finally:
        _ACTIVE.reset(token)


def register() -> None:
    """Registers `attend` with transformers."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attend)


def attend(
    module: Any, query: Any, key: Any, value: Any, mask: Any, scaling: float | None = None, **other: Any
) -> tuple[Any, None]:
    """Attention with the signature of transformers: query (1, heads, tokens, width) to (1, tokens, heads, width).

    Raises `PlainOnlyError` for an argument that would change the result and is not implemented here, and outside of
    `seeing`. An ignored argument would give wrong log-probabilities without an error.
    """
    # Networks are in evaluation mode, where dropout does nothing.
    other.pop("dropout", None)
    if odd := sorted(k for k, v in other.items() if v is not None and v is not False and k not in HARMLESS):
        raise PlainOnlyError(f"its attention takes {', '.join(odd)}")
    packed = _ACTIVE.get()
    if packed is None:
        raise PlainOnlyError("it was called outside of `seeing`")
    # Every row has tokens of its own, so the merges start from them.
    out, norm = _own(query, key, value, scaling, packed)
    for segment, tokens in packed.shared:
        keys, values = segment.keys[module.layer_idx], segment.values[module.layer_idx]
        if tokens is None:
            out, norm = _merge((out, norm), _fold(query, keys, values, scaling))
        else:
            part = _fold(query[:, :, tokens], keys, values, scaling)
            out[:, :, tokens], norm[:, :, tokens] = _merge((out[:, :, tokens], norm[:, :, tokens]), part)
    return out.transpose(1, 2), None


def _own(query: Any, key: Any, value: Any, scale: float | None, packed: Packing) -> tuple[Any, Any]:
    """Causal attention of every row over its own tokens.

    Rows are padded on the right. Causal attention does not look there, so no mask is needed. The kernels of `_part`
    need as many key heads as query heads, so key heads that serve several query heads are repeated.
    """
    times, heads, total = query.shape[1] // key.shape[1], query.shape[1], query.shape[2]
    # A packed pass is a batch of one, so the axis of the batch is dropped.
    query, key, value = (_rows(states[0], packed) for states in (query, key, value))
    if times > 1:
        key, value = key.repeat_interleave(times, dim=1), value.repeat_interleave(times, dim=1)
    out, norm = _part(query, key, value, scale, causal=True)
    out, norm = out.transpose(0, 1).reshape(heads, -1, out.shape[-1]), norm.transpose(0, 1).reshape(heads, -1)
    if packed.slots is not None:
        out, norm = out[:, packed.slots], norm[:, packed.slots]
    return out.reshape(1, heads, total, -1), norm.reshape(1, heads, total)


def _rows(states: Any, packed: Packing) -> Any:
    """From packed (heads, all tokens, width) to padded (rows, heads, tokens, width)."""
    heads, _, width = states.shape
    if packed.slots is not None:
        padded = states.new_zeros(heads, len(packed.lengths) * max(packed.lengths), width)
        padded[:, packed.slots] = states
        states = padded
    return states.reshape(heads, len(packed.lengths), -1, width).transpose(0, 1)


def _fold(query: Any, key: Any, value: Any, scale: float | None) -> tuple[Any, Any]:
    """Attention of all tokens over one segment.

    The queries of all tokens, and of all heads that share a key head, form one long sequence per key head. So the
    segment's keys are read once. Every query sees the whole segment, so nothing is causal here.
    """
    _, heads, tokens, width = query.shape
    # Query heads that share a key head are neighbours, so a reshape puts them into one sequence.
    out, norm = _part(query.reshape(1, key.shape[1], -1, width), key, value, scale, causal=False)
    return out.reshape(1, heads, tokens, width), norm.reshape(1, heads, tokens)


def _merge(one: tuple[Any, Any], other: tuple[Any, Any]) -> tuple[Any, Any]:
    """Combines two attentions (output, log normaliser) over disjoint sets of keys into the one over their union.

    With log normalisers a and b, the weight of the second output is exp(b) / (exp(a) + exp(b)) = sigmoid(b - a).
    """
    import torch

    norm = torch.logaddexp(one[1], other[1])
    weight = torch.sigmoid(other[1] - one[1])[..., None].to(one[0].dtype)
    return torch.lerp(one[0], other[0], weight), norm


def _part(query: Any, key: Any, value: Any, scale: float | None, *, causal: bool) -> tuple[Any, Any]:
    """Attention and, per query, the log of its normaliser in float32 or better. Query and key have equal head counts.

    torch's public attention does not return the normaliser, so the operators behind it are called. Each accepts other
    devices, dtypes and head widths; `_by_hand` covers the rest.
    """
    import torch

    aten = torch.ops.aten
    if query.device.type == "cpu":
        result = aten._scaled_dot_product_flash_attention_for_cpu(query, key, value, 0.0, causal, scale=scale)
        return result[0], result[1]
    width = query.shape[-1]
    if query.device.type != "cuda" or query.element_size() > 4 or width % 8 or width > 256:
        return _by_hand(query, key, value, scale, causal=causal)
    # The flash kernel takes half precision on Ampere (8.0) and later. The memory-efficient one takes the rest.
    if query.element_size() == 2 and torch.cuda.get_device_capability(query.device) >= (8, 0):
        result = aten._scaled_dot_product_flash_attention(query, key, value, 0.0, causal, False, scale=scale)
    else:
        result = aten._scaled_dot_product_efficient_attention(query, key, value, None, True, 0.0, causal, scale=scale)
    return result[0], result[1][..., : query.shape[2]]  # the kernels round the number of queries up


def _by_hand(query: Any, key: Any, value: Any, scale: float | None, *, causal: bool) -> tuple[Any, Any]:
    """The definition of attention, for inputs for which no kernel gives the normaliser."""
    import torch

    logits = query @ key.mT * (query.shape[-1] ** -0.5 if scale is None else scale)
    # In half precision the log-sum-exp would lose digits that `_merge` needs.
    if logits.element_size() < 4:
        logits = logits.float()
    if causal:
        later = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).triu(1)
        logits = logits.masked_fill(later, -torch.inf)
    return logits.softmax(-1).to(value.dtype) @ value, logits.logsumexp(-1)


def joined(chain: Sequence[Segment], begin: int, end: int) -> Any:
    """A copy of positions [begin, end) of a chain that begins at position 0: (2 x layers, heads, tokens, width).

    The first half of the first axis holds the keys of all layers, the second half the values.
    """
    import torch

    pieces, at = [], 0
    for segment in chain:
        # What of this segment lies in [begin, end), counted from its own first position.
        low, high = max(begin - at, 0), min(end - at, segment.length)
        if low < high:
            pieces.append(torch.cat([part[:, :, low:high] for part in (*segment.keys, *segment.values)]))
        at += segment.length
    return torch.cat(pieces, dim=2)


def segment_of(blocks: Sequence[Any]) -> Segment:
    """The inverse of `joined`: one segment of consecutive blocks."""
    import torch

    whole = torch.cat(list(blocks), dim=2)
    keys, values = whole.split(1)[: len(whole) // 2], whole.split(1)[len(whole) // 2 :]
    return Segment(keys, values, whole.shape[2])
