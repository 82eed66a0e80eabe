"""A cache of user states that is bounded by their number and by the memory of its keys."""

from collections import OrderedDict
from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
UserPrompt = tuple[str | None, str]
CHARACTERS = 1 << 25
"""Most characters of all keys. A prompt may have megabytes, so the number of entries alone bounds nothing."""


class StateCache(Generic[T]):
    """Values by (user, prompt). The key that was not used for longest leaves first."""

    def __init__(self, entries: int, characters: int = CHARACTERS) -> None:
        self.entries, self.characters = entries, characters
        self._values: OrderedDict[UserPrompt, T] = OrderedDict()
        self._size = 0

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[UserPrompt]:
        return iter(self._values)

    def get(self, key: UserPrompt) -> T | None:
        """The value, or None; the key keeps its age."""
        return self._values.get(key)

    def keep(self, key: UserPrompt, value: T) -> None:
        """Put a value in, as the youngest. A key that is larger than the whole cache is not kept."""
        self.drop(key)
        if _size(key) > self.characters:
            return
        self._values[key] = value
        self._size += _size(key)
        while len(self._values) > self.entries or self._size > self.characters:
            oldest, _ = self._values.popitem(last=False)
            self._size -= _size(oldest)

    def drop(self, key: UserPrompt) -> None:
        """Forget a key, if it is there."""
        if key in self._values:
            del self._values[key]
            self._size -= _size(key)


def _size(key: UserPrompt) -> int:
    user, prompt = key
    return len(user or "") + len(prompt)
