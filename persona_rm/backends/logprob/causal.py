"""A causal language model with what probes showed about it, and one forward pass that can read shared segments."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from persona_rm.backends.logprob.segments import NAME, PlainOnlyError, Segment, Shared, packing, register, seeing

CHANGING_ROPE = {"dynamic", "longrope"}
"""Position encodings that depend on the length of the whole row. With them, keys of a prefix cannot be reused."""
CLOSE = {8: 1e-10, 4: 1e-4}
"""Tolerance of the probe (one pass against two parts) relative to the largest value, by bytes of the dtype."""
HALF_CLOSE = 0.05
"""The same for two-byte dtypes."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Model:
    """A network and its properties.

    `head` is the vocabulary projection if the logits are nothing more than that projection, else None. `shares` is
    true if the network can read keys and values of another pass. `limit` is its context length. `role` separates the
    prefixes of the policy and of the reference in a cache. Inside `active()` the network is this model: with its
    adapter on, or off.
    """

    net: Any
    head: Any
    shares: bool
    limit: int | None
    vocabulary: int
    role: str = "policy"
    active: Callable[[], AbstractContextManager[Any]] = nullcontext


def inspect(net: Any) -> Model:
    """Probes a network: is its head a plain projection (no soft cap, no scale), and can prefixes be shared?

    Probing replaces a list of architectures that would be outdated with the next release of transformers. A network
    that cannot share prefixes is logged once and scored without sharing.
    """
    import torch

    head, vocabulary = net.get_output_embeddings(), len(net.get_input_embeddings().weight)
    ids = torch.arange(min(32, vocabulary), device=net.device)[None]
    with torch.inference_mode():
        states = net.base_model(input_ids=ids, use_cache=False)[0]
        # A network that is its own base model has no head that could be taken apart.
        plain = head is not None and net.base_model is not net
        # Exactly equal: the same projection of the same states. A soft cap or a scale would change the values.
        plain = plain and torch.equal(head(states), net(input_ids=ids, use_cache=False).logits)
        why = _cannot_share(net, ids, states) if plain else "its head does more than project"
    if why:
        log.warning("%s: shared prefixes are computed again for every row: %s", type(net).__name__, why)
    limit = getattr(net.config, "max_position_embeddings", None)
    return Model(net, head if plain else None, not why, limit, vocabulary)


def _cannot_share(net: Any, ids: Any, expected: Any) -> str:
    """The reason why prefixes cannot be shared. If it is empty, the network's attention is now `segments.attend`."""
    rope = getattr(net.config, "rope_parameters", None) or {}
    if kinds := CHANGING_ROPE & {str(rope.get("rope_type"))}:
        return f"its positions are {kinds.pop()}"
    before = net.config._attn_implementation
    register()
    net.set_attn_implementation(NAME)
    try:
        why = "" if _in_two_parts(net, ids, expected) else "its attention or its positions are not plain"
    except PlainOnlyError as error:
        why = str(error)
    if why:
        # A network that cannot share prefixes is scored with its own attention.
        net.set_attn_implementation(before)
    return why


def _in_two_parts(net: Any, ids: Any, expected: Any) -> bool:
    """Whether a row in two parts gives the states of one pass. A shorter row runs beside the second part, so that the
    probe covers padding and rows that do not see the segment."""
    import torch

    half, whole = ids.shape[1] // 2, ids.shape[1]
    # Rows of the second pass: the other half, which sees the first one as a segment, and a quarter that begins at 0
    # and does not see it.
    first, past = run(net, [ids[0, :half]], [0], keep=True)
    second, _ = run(net, [ids[0, half:], ids[0, : half // 2]], [half, 0], [(past[0], [0])])
    states = torch.cat([first, second[: whole - half], second[whole - half :]])
    off = (states - torch.cat([expected[0], expected[0, : half // 2]])).abs().max() / expected.abs().max()
    return bool(off <= CLOSE.get(expected.element_size(), HALF_CLOSE))


def run(
    net: Any, rows: Sequence[Any], starts: Sequence[int], shared: Sequence[Shared] = (), *, keep: bool = False
) -> tuple[Any, list[Segment]]:
    """One forward pass over rows of ids that begin at positions `starts`, after the segments of `shared` they see.

    Returns the final hidden states (tokens of all rows, width) and, with `keep`, each row's keys and values.
    """
    import torch

    lengths = [len(row) for row in rows]
    ids = torch.cat(list(rows)).to(net.device)
    positions = torch.cat([torch.arange(a, a + n) for a, n in zip(starts, lengths, strict=True)]).to(net.device)
    with seeing(packing(lengths, shared, net.device)):
        # A batch of one: all rows in one sequence. Only `packing` and the positions say where a row begins.
        output = net.base_model(input_ids=ids[None], position_ids=positions[None], use_cache=keep)
    return output[0][0], _segments(_plain_layers(output), lengths) if keep else []


def _segments(layers: Sequence[Any], lengths: Sequence[int]) -> list[Segment]:
    """The keys and values of a packed pass, cut into one segment per row. The tensors are views, not copies."""
    segments = []
    for begin, end in pairwise(accumulate(lengths, initial=0)):
        keys = [layer.keys[:, :, begin:end] for layer in layers]
        values = [layer.values[:, :, begin:end] for layer in layers]
        segments.append(Segment(keys, values, end - begin))
    return segments


def _plain_layers(output: Any) -> list[Any]:
    """The layers of the cache. Raises `PlainOnlyError` for sliding windows, linear attention and the like."""
    from transformers.cache_utils import DynamicLayer

    layers = list(getattr(getattr(output, "past_key_values", None), "layers", []))
    # The exact type, because the layers of sliding windows are subclasses of it.
    if not layers or any(type(layer) is not DynamicLayer for layer in layers):
        raise PlainOnlyError("its cache does not hold plain keys and values of every position")
    if len({tuple(part.shape) for layer in layers for part in (layer.keys, layer.values)}) > 1:
        raise PlainOnlyError("its layers differ in shape")
    return layers
