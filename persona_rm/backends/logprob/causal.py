"""A causal language model, what was found out about it by probes, and one pass that may read shared segments."""

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from persona_rm.backends.logprob.segments import NAME, PlainOnlyError, Segment, Shared, packing, register, seeing

CHANGING_ROPE = {"dynamic", "longrope"}
"""Position encodings that depend on the length of the whole row, so that no beginning stays what it was."""
CLOSE = {8: 1e-10, 4: 1e-4}
"""How far a probe in two parts may be from one in one part, as a share of the largest value, by bytes of a number."""
HALF_CLOSE = 0.05

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Model:
    """`head` is the vocabulary projection where that alone makes the logits, else None; `shares` is true where the net
    can read keys and values of another pass; `limit` is its context. `role` keeps its prefixes apart in a cache;
    inside `active()` the net is this model (its adapters on, or off)."""

    net: Any
    head: Any
    shares: bool
    limit: int | None
    vocabulary: int
    role: str = "policy"
    active: Callable[[], AbstractContextManager[Any]] = nullcontext


def inspect(net: Any) -> Model:
    """Probes: does the head do more than project (soft cap, scale), can beginnings be shared? Logs a "no", once."""
    import torch

    head, vocabulary = net.get_output_embeddings(), len(net.get_input_embeddings().weight)
    ids = torch.arange(min(32, vocabulary), device=net.device)[None]
    with torch.inference_mode():
        states = net.base_model(input_ids=ids, use_cache=False)[0]
        plain = head is not None and net.base_model is not net
        plain = plain and torch.equal(head(states), net(input_ids=ids, use_cache=False).logits)
        why = _cannot_share(net, ids, states) if plain else "its head does more than project"
    if why:
        log.warning("%s: what rows have in common is read again for each of them: %s", type(net).__name__, why)
    limit = getattr(net.config, "max_position_embeddings", None)
    return Model(net, head if plain else None, not why, limit, vocabulary)


def _cannot_share(net: Any, ids: Any, expected: Any) -> str:
    """Why not; or nothing, and then the net's attention is `segments.attend` from now on."""
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
        net.set_attn_implementation(before)
    return why


def _in_two_parts(net: Any, ids: Any, expected: Any) -> bool:
    """The ids in two parts, the second beside a shorter row."""
    import torch

    half, whole = ids.shape[1] // 2, ids.shape[1]
    first, past = run(net, [ids[0, :half]], [0], keep=True)
    second, _ = run(net, [ids[0, half:], ids[0, : half // 2]], [half, 0], [(past[0], [0])])
    found = torch.cat([first, second[: whole - half], second[whole - half :]])
    off = (found - torch.cat([expected[0], expected[0, : half // 2]])).abs().max() / expected.abs().max()
    return bool(off <= CLOSE.get(expected.element_size(), HALF_CLOSE))


def run(
    net: Any, rows: Sequence[Any], starts: Sequence[int], shared: Sequence[Shared] = (), *, keep: bool = False
) -> tuple[Any, list[Segment]]:
    """One pass over rows of ids that begin at positions `starts`, behind what they see of `shared`.

    Final hidden states (tokens of all rows, width); with `keep` also each row's keys and values.
    """
    import torch

    lengths = [len(row) for row in rows]
    ids = torch.cat(list(rows)).to(net.device)
    positions = torch.cat([torch.arange(a, a + n) for a, n in zip(starts, lengths, strict=True)]).to(net.device)
    with seeing(packing(lengths, shared, net.device)):
        found = net.base_model(input_ids=ids[None], position_ids=positions[None], use_cache=keep)
    return found[0][0], _segments(_plain_layers(found), lengths) if keep else []


def _segments(layers: Sequence[Any], lengths: Sequence[int]) -> list[Segment]:
    cuts = list(pairwise(accumulate(lengths, initial=0)))
    return [
        Segment([layer.keys[:, :, a:b] for layer in layers], [layer.values[:, :, a:b] for layer in layers], b - a)
        for a, b in cuts
    ]


def _plain_layers(found: Any) -> list[Any]:
    from transformers.cache_utils import DynamicLayer

    layers = list(getattr(getattr(found, "past_key_values", None), "layers", []))
    if not layers or any(type(layer) is not DynamicLayer for layer in layers):
        raise PlainOnlyError("its cache does not hold plain keys and values of every position")
    if len({tuple(part.shape) for layer in layers for part in (layer.keys, layer.values)}) > 1:
        raise PlainOnlyError("its layers differ in shape")
    return layers
