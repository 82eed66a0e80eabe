"""Keys and values of prefixes, in blocks of 64 tokens, the least recently used leaving first, bounded by bytes.

A block's name is a hash of all ids up to its end and of the model's role, so another text, a changed state of a person
or another model can never read it. A block is kept from its second meeting: met by two prompts of one call or by two
calls. So what prompts have in common stays, and a prompt that is seen once takes no room.
"""

from array import array
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import Any

from persona_rm.backends.logprob.segments import Segment, joined, segment_of

BLOCK = 64
"""Tokens of a block."""
SEEN = 200_000
"""Names of blocks that are remembered without their content (about 20 MB, 12.8 M tokens)."""

Key = bytes


def keys_of(role: str, ids: Sequence[int]) -> list[Key]:
    """The names of the whole blocks of `ids`."""
    found: list[Key] = []
    name = role.encode()
    for at in range(BLOCK, len(ids) + 1, BLOCK):
        name = blake2b(name + array("q", ids[at - BLOCK : at]).tobytes(), digest_size=16).digest()
        found.append(name)
    return found


class PrefixCache:
    """Blocks by name. `capacity` is in bytes; 0 keeps nothing. One thread per instance.

    What a call has met is not evicted before the next call (`begin`), so what `longest` found can be read.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self.bytes = capacity, 0
        self._blocks: OrderedDict[Key, tuple[Any, int]] = OrderedDict()
        self._seen: OrderedDict[Key, bool] = OrderedDict()
        self._call, self._full = 0, False

    def begin(self, prompts: Iterable[Sequence[Key]]) -> None:
        """A call that meets these distinct prompts: what they share, or what was met before, is worth keeping."""
        self._call, self._full = self._call + 1, False
        for keys in prompts:
            for key in reversed(keys):
                self._seen[key] = key in self._seen
                self._seen.move_to_end(key)
            self._touch(keys)
        while len(self._seen) > SEEN:
            self._seen.popitem(last=False)

    def clear(self) -> None:
        """Drop every block; what was met is remembered."""
        self._blocks.clear()
        self.bytes = 0

    def longest(self, keys: Sequence[Key]) -> int:
        """How many blocks from the first on are kept; they stay for this call."""
        found = next((i for i, key in enumerate(keys) if key not in self._blocks), len(keys))
        self._touch(keys[:found])
        return found

    def read(self, keys: Sequence[Key]) -> Segment:
        """The content of blocks that are all kept: a copy."""
        return segment_of([self._blocks[key][0] for key in keys])

    def wants(self, keys: Sequence[Key]) -> list[int]:
        """Which of a prompt's blocks are worth keeping and are not kept; none once the cache is full for this call."""
        if self._full:
            return []
        return [i for i, key in enumerate(keys) if self._seen.get(key) and key not in self._blocks]

    def keep(self, keys: Sequence[Key], chain: Sequence[Segment]) -> None:
        """Takes the wanted blocks from a chain that begins at position 0 and reaches over all `keys`.

        Values that are not finite are never kept; a full cache first drops what older calls left.
        """
        for i in self.wants(keys):
            block = joined(chain, i * BLOCK, (i + 1) * BLOCK)
            if not bool(block.isfinite().all()) or not self._room(block.nbytes):
                break
            self._blocks[keys[i]] = block, self._call
            self.bytes += block.nbytes
        self._touch(keys)

    def _room(self, size: int) -> bool:
        while self._blocks and self.bytes + size > self.capacity:
            name, (block, call) = next(iter(self._blocks.items()))
            if call == self._call:
                break
            del self._blocks[name]
            self.bytes -= block.nbytes
        self._full = self.bytes + size > self.capacity
        return not self._full

    def _touch(self, keys: Sequence[Key]) -> None:
        """Later blocks first: without its beginning a block is of no use."""
        for key in reversed(keys):
            if key in self._blocks:
                self._blocks[key] = self._blocks[key][0], self._call
                self._blocks.move_to_end(key)
