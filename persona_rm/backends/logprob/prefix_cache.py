"""A cache of keys and values of prefixes, in blocks of 64 tokens, bounded by bytes. Least recently used leaves first.

The key of a block is a hash of all ids up to its end and of the model's role. So a block cannot be read for another
text, for a changed user state or by the other model. A block is stored when it is met the second time, by two prompts
of one call or by two calls. So prefixes that prompts share are kept, and a prompt that occurs once takes no room.
"""

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

from persona_rm.backends.logprob.segments import Segment, joined, segment_of

BLOCK = 64
"""Number of tokens of a block."""
SEEN = 200_000
"""Number of keys that are remembered without their content (about 20 MB, for 12.8 M tokens)."""

Key = bytes


def keys_of(role: str, ids: Sequence[int]) -> list[Key]:
    """The keys of the complete blocks of `ids`. Each key is a hash of the key before it and of the block's ids."""
    keys: list[Key] = []
    name = role.encode()
    for at in range(BLOCK, len(ids) + 1, BLOCK):
        # The key before it is a part of the hash, so a key stands for everything from the first token on.
        name = blake2b(name + array("q", ids[at - BLOCK : at]).tobytes(), digest_size=16).digest()
        keys.append(name)
    return keys


class PrefixCache:
    """Blocks by key. `capacity` is in bytes; 0 stores nothing. An instance belongs to one thread.

    Invariant: blocks that a call has met are not evicted before the next call (`begin`). So the blocks that `longest`
    counted can still be read later in the same call.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self.bytes = capacity, 0
        self._blocks: OrderedDict[Key, tuple[Any, int]] = OrderedDict()
        self._seen: OrderedDict[Key, bool] = OrderedDict()
        self._call, self._full = 0, False

    def begin(self, prompts: Iterable[Sequence[Key]]) -> None:
        """Starts a call with these distinct prompts. Blocks that are shared or were met before are worth storing."""
        self._call, self._full = self._call + 1, False
        for keys in prompts:
            # Later blocks first, so that the beginning of a prompt is forgotten last. The value is True from the
            # second meeting on.
            for key in reversed(keys):
                self._seen[key] = key in self._seen
                self._seen.move_to_end(key)
            self._touch(keys)
        while len(self._seen) > SEEN:
            self._seen.popitem(last=False)

    def clear(self) -> None:
        """Drops every block. Keys that were met are still remembered."""
        self._blocks.clear()
        self.bytes = 0

    def longest(self, keys: Sequence[Key]) -> int:
        """Number of stored blocks from the first on, without a gap. They stay for this call."""
        length = next((i for i, key in enumerate(keys) if key not in self._blocks), len(keys))
        self._touch(keys[:length])
        return length

    def read(self, keys: Sequence[Key]) -> Segment:
        """A copy of the content of these blocks, which must all be stored."""
        return segment_of([self._blocks[key][0] for key in keys])

    def wants(self, keys: Sequence[Key]) -> list[int]:
        """Indices of blocks that are worth storing and are missing. Empty once the cache is full for this call."""
        if self._full:
            return []
        return [i for i, key in enumerate(keys) if self._seen.get(key) and key not in self._blocks]

    def keep(self, keys: Sequence[Key], chain: Sequence[Segment]) -> None:
        """Stores the wanted blocks of a chain that begins at position 0 and covers all `keys`.

        Values that are not finite are never stored. A full cache first drops blocks of older calls.
        """
        for i in self.wants(keys):
            # A block is useless without those before it, so the first one that cannot be stored ends the loop.
            block = joined(chain, i * BLOCK, (i + 1) * BLOCK)
            if not bool(block.isfinite().all()) or not self._room(block.nbytes):
                break
            self._blocks[keys[i]] = block, self._call
            self.bytes += block.nbytes
        self._touch(keys)

    def _room(self, size: int) -> bool:
        """Evicts blocks of older calls until `size` bytes fit. False if that is not enough."""
        while self._blocks and self.bytes + size > self.capacity:
            # The first block is the least recently used. If it belongs to this call, all others do.
            name, (block, call) = next(iter(self._blocks.items()))
            if call == self._call:
                break
            del self._blocks[name]
            self.bytes -= block.nbytes
        self._full = self.bytes + size > self.capacity
        return not self._full

    def _touch(self, keys: Sequence[Key]) -> None:
        """Marks blocks as used by this call. Later blocks first: a block is useless without those before it."""
        for key in reversed(keys):
            if key in self._blocks:
                self._blocks[key] = self._blocks[key][0], self._call
                self._blocks.move_to_end(key)
