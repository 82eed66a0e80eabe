"""One padded forward pass that is exact whatever stands beside a row: shared prompts, right padding, head in chunks.

Rows that begin with the same ids (a prompt's several responses) read them once: the key-value cache of the shared part
is copied to each row and only the rest is computed per row. It is the same arithmetic, in another order.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from persona_rm.backends.host_tokens import Encoded

HEAD_CHUNK = 1024
"""Response positions projected onto the vocabulary at a time: bounds memory at HEAD_CHUNK x vocabulary."""
MARGIN = 8
"""Last tokens of a prompt that are not shared: a tokenizer may join them with the response."""
MIN_SHARED = 16
"""Prompts with fewer shareable tokens are not worth a second forward pass."""


@dataclass(frozen=True, slots=True)
class Model:
    """A causal language model and what was found out about it.

    `head` is its vocabulary projection where that alone makes the logits, else None; `shares` is true where its cache
    holds plain keys and values of every position, so that it can be copied; `limit` is its context.
    """

    net: Any
    head: Any
    shares: bool
    limit: int | None
    vocabulary: int


def inspect(net: Any) -> Model:
    """A look at `net` by one probe: does the head do more than project (soft cap, scale), is the cache plain?"""
    import torch
    from transformers.cache_utils import DynamicLayer

    head, vocabulary = net.get_output_embeddings(), net.get_input_embeddings().num_embeddings
    ids = torch.arange(min(8, vocabulary), device=net.device)[None]
    with torch.inference_mode():
        found = net.base_model(input_ids=ids, use_cache=True)
        plain = head is not None and net.base_model is not net
        plain = plain and torch.equal(head(found.last_hidden_state), net(input_ids=ids, use_cache=False).logits)
    layers = getattr(getattr(found, "past_key_values", None), "layers", [])
    shares = plain and len(layers) > 0 and all(type(layer) is DynamicLayer for layer in layers)
    limit = getattr(net.config, "max_position_embeddings", None)
    return Model(net, head if plain else None, shares, limit, vocabulary)


def prefix(row: Encoded) -> tuple[int, ...]:
    """The ids that a row may share with others: its prompt without the last few; empty where too short."""
    ids, start = row
    return ids[: start - MARGIN] if start - MARGIN >= MIN_SHARED else ()


def batches(rows: Sequence[Encoded], budget: int, *, share: bool) -> Iterator[list[int]]:
    """Row indices, longest first, a prompt's rows together, cut so that rows x longest <= budget (one always passes).

    A batch holds either rows of shared prompts or rows that share nothing.
    """
    groups: dict[object, list[int]] = {}
    for i, row in enumerate(rows):
        groups.setdefault(prefix(row) if share and prefix(row) else i, []).append(i)
    for wanted in (True, False):
        chosen = [group for group in groups.values() if (len(group) > 1) is wanted]
        chosen.sort(key=lambda group: -max(len(rows[i][0]) for i in group))
        yield from _cut([i for group in chosen for i in group], [len(ids) for ids, _ in rows], budget)


def _cut(order: Sequence[int], lengths: Sequence[int], budget: int) -> Iterator[list[int]]:
    batch: list[int] = []
    longest = 0
    for i in order:
        longest = max(longest, lengths[i])
        if batch and longest * (len(batch) + 1) > budget:
            yield batch
            batch, longest = [], lengths[i]
        batch.append(i)
    if batch:
        yield batch


def batch_sums(model: Model, rows: Sequence[Encoded]) -> list[float]:
    """The sum of log p(token | before) over each row's response tokens, in float64, by one pass over the batch."""
    import torch

    heads = [prefix(row) for row in rows]
    shared = model.shares and len(set(heads)) < len(rows) and all(heads)
    cut = [len(head) if shared else 0 for head in heads]
    past = _read(model, heads) if shared else {}
    ids, inside = _pad(model, [row[0][c:] for row, c in zip(rows, cut, strict=True)])
    starts = torch.tensor([start - c for (_, start), c in zip(rows, cut, strict=True)], device=ids.device)
    response = inside & (torch.arange(ids.shape[1], device=ids.device) >= starts[:, None])
    row, position = response.nonzero(as_tuple=True)
    states = _states(model, ids, inside.long(), past)[row, position - 1]
    return _sum_by_row(model, states, ids[row, position], row, len(rows))


def _read(model: Model, heads: Sequence[tuple[int, ...]]) -> dict[str, Any]:
    """The cache of every distinct head, copied to its rows; with each row's mask over it and its length."""
    import torch

    distinct = {head: i for i, head in enumerate(dict.fromkeys(heads))}
    ids, inside = _pad(model, list(distinct))
    cache = model.net.base_model(input_ids=ids, attention_mask=inside.long(), use_cache=True).past_key_values
    owner = torch.tensor([distinct[head] for head in heads], device=ids.device)
    cache.batch_select_indices(owner)
    return {"cache": cache, "mask": inside[owner].long(), "length": inside.sum(1)[owner]}


def _states(model: Model, ids: Any, mask: Any, past: dict[str, Any]) -> Any:
    """Final hidden states (rows, tokens, width) where the head is plain, else logits (rows, tokens, vocabulary)."""
    import torch

    if model.head is None:
        return model.net(input_ids=ids, attention_mask=mask, use_cache=False).logits
    if not past:
        return model.net.base_model(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
    return model.net.base_model(
        input_ids=ids,
        attention_mask=torch.cat([past["mask"], mask], 1),
        position_ids=past["length"][:, None] + torch.arange(ids.shape[1], device=ids.device),
        past_key_values=past["cache"],
        use_cache=True,
    ).last_hidden_state


def _sum_by_row(model: Model, states: Any, targets: Any, owner: Any, rows: int) -> list[float]:
    import torch

    sums = torch.zeros(rows, dtype=torch.float64, device=states.device)
    for part, ids, row in zip(*(x.split(HEAD_CHUNK) for x in (states, targets, owner)), strict=True):
        logits = _upcast(part if model.head is None else model.head(part))
        sums.index_add_(0, row, (logits.gather(1, ids[:, None])[:, 0] - logits.logsumexp(1)).double())
    return [float(value) for value in sums]


def _pad(model: Model, rows: Sequence[Sequence[int]]) -> tuple[Any, Any]:
    """Ids padded on the right with 0, and which of them are real."""
    import torch

    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
    sizes = torch.tensor([len(row) for row in rows])
    return ids.to(model.net.device), (torch.arange(ids.shape[1]) < sizes[:, None]).to(model.net.device)


def _upcast(logits: Any) -> Any:
    """Half precision to float32 before the log-softmax; float32 and float64 stay."""
    return logits.float() if logits.element_size() < 4 else logits
