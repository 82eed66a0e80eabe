"""Which beginnings are kept, for how long, and that no other text, model or state reads them."""

from collections.abc import Sequence
from typing import Any

import pytest

from persona_rm.backends.logprob.prefix_cache import BLOCK, SEEN, Key, PrefixCache, keys_of
from persona_rm.backends.logprob.segments import Segment

SIZE = 2 * BLOCK * 4
"""Bytes of a small block: one layer, one head, one number per token, float32."""


def ids_of(user: int, blocks: int) -> list[int]:
    return [user * 1000 + i for i in range(blocks * BLOCK)]


def chain_of(ids: Sequence[int], value: float | None = None) -> list[Segment]:
    """Keys are the ids themselves, so that what is read can be recognised."""
    import torch

    keys = torch.tensor(ids, dtype=torch.float32) if value is None else torch.full((len(ids),), value)
    return [Segment([keys[None, None, :, None]], [-keys[None, None, :, None]], len(ids))]


def meet(cache: PrefixCache, *prompts: Sequence[Key]) -> None:
    cache.begin(prompts)
    for keys in prompts:
        if cache.wants(keys):
            cache.keep(keys, chain_of(range(len(keys) * BLOCK)))


def test_names_depend_on_the_role_and_on_every_id_before() -> None:
    ids = ids_of(1, 3)
    keys = keys_of("policy", ids)
    assert len(set(keys)) == 3
    assert keys_of("policy", [*ids, 5, 6]) == keys
    assert keys_of("policy", ids[:-1]) == keys[:2]
    assert not set(keys) & set(keys_of("reference", ids))
    other = keys_of("policy", [*ids[:BLOCK], 7, *ids[BLOCK + 1 :]])
    assert (other[0] == keys[0], other[1] == keys[1], other[2] == keys[2]) == (True, False, False)
    assert keys_of("policy", []) == []


def test_a_prompt_is_kept_from_its_second_call() -> None:
    cache, keys = PrefixCache(100 * SIZE), keys_of("policy", ids_of(1, 3))
    meet(cache, keys)
    assert (cache.longest(keys), cache.bytes) == (0, 0)
    meet(cache, keys)
    assert (cache.longest(keys), cache.bytes) == (3, 3 * SIZE)
    meet(cache, keys)
    assert cache.bytes == 3 * SIZE


def test_what_two_prompts_share_is_kept_at_once_and_the_rest_is_not() -> None:
    cache, persona = PrefixCache(100 * SIZE), ids_of(1, 2)
    one, other = (keys_of("policy", [*persona, *ids_of(n, 2)]) for n in (2, 3))
    meet(cache, one, other)
    assert [cache.longest(keys) for keys in (one, other)] == [2, 2]
    assert cache.bytes == 2 * SIZE


def test_what_is_read_is_what_was_kept() -> None:
    import torch

    cache, ids = PrefixCache(100 * SIZE), ids_of(1, 3)
    keys = keys_of("policy", ids)
    cache.begin([keys, keys])
    cache.keep(keys, [*chain_of(ids[:70]), *chain_of(ids[70:])])
    found = cache.read(keys[:2])
    assert found.length == 2 * BLOCK
    assert torch.equal(found.keys[0][0, 0, :, 0], torch.tensor(ids[: 2 * BLOCK], dtype=torch.float32))
    assert torch.equal(found.values[0], -found.keys[0])


def test_the_least_recently_used_leaves_and_its_end_before_its_beginning() -> None:
    cache = PrefixCache(4 * SIZE)
    a, b, c = (keys_of("policy", ids_of(n, 2)) for n in (1, 2, 3))
    for keys in (a, a, b, b):
        meet(cache, keys)
    cache.begin([a])
    for keys in (c[:1], c[:1]):
        meet(cache, keys)
    assert [cache.longest(keys) for keys in (a, b, c)] == [2, 1, 1]
    assert cache.bytes == 4 * SIZE


def test_one_call_does_not_evict_what_it_met() -> None:
    cache, long = PrefixCache(3 * SIZE), keys_of("policy", ids_of(1, 5))
    meet(cache, long)
    meet(cache, long)
    assert cache.longest(long) == 3
    assert cache.wants(long) == []
    meet(cache, long)
    assert (cache.longest(long), cache.bytes) == (3, 3 * SIZE)


def test_what_was_found_can_be_read_to_the_end_of_the_call() -> None:
    cache, found, other = PrefixCache(2 * SIZE), keys_of("policy", ids_of(1, 2)), keys_of("policy", ids_of(2, 2))
    for keys in (other, found, found):
        meet(cache, keys)
    cache.begin([other])
    assert cache.longest(found) == 2
    cache.keep(other, chain_of(ids_of(2, 2)))
    assert cache.longest(other) == 0
    assert cache.read(found).length == 2 * BLOCK


@pytest.mark.parametrize("capacity", [0, SIZE - 1])
def test_a_cache_without_room_keeps_nothing(capacity: int) -> None:
    cache, keys = PrefixCache(capacity), keys_of("policy", ids_of(1, 2))
    for _ in range(3):
        meet(cache, keys)
    assert (cache.longest(keys), cache.bytes) == (0, 0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_not_kept(bad: float) -> None:
    cache, keys = PrefixCache(100 * SIZE), keys_of("policy", ids_of(1, 2))
    cache.begin([keys, keys])
    cache.keep(keys, chain_of(ids_of(1, 2), bad))
    assert cache.longest(keys) == 0


def test_names_are_not_remembered_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    assert SEEN > 10_000
    monkeypatch.setattr("persona_rm.backends.logprob.prefix_cache.SEEN", 10)
    cache: Any = PrefixCache(100 * SIZE)
    for user in range(30):
        cache.begin([keys_of("policy", ids_of(user, 2))])
    assert len(cache._seen) == 10
