"""What files say about one user, and what is left of a value without it."""

import json
import math
import re
from collections.abc import Iterable, Iterator
from typing import Any, Final

from persona_rm.users.columns import NAMES, plain

GONE: Final = object()
"""What `ErasedUser.without` returns for a value that is about the user as a whole."""
USER_KEYS = frozenset({*NAMES["user"], "label", "author", "author_id", "annotator", "annotator_id"})
"""Keys, as `users.columns.plain` writes them, whose value names the user whom a record is about."""
TEXT_KEYS = frozenset({"comment", "text", "demo", "profile"})
"""Keys of texts by or about the user. Prompts and responses of comparisons are read by other users too."""
SHORTEST_TEXT, MOST_TEXTS = 24, 200
"""Texts of the user that are looked for in other files: at least so many characters, at most so many texts."""


class ErasedUser:
    """The user to erase. `names` are the id, and what logs write for it under each of their keys."""

    def __init__(self, user: str, names: Iterable[str] = ()) -> None:
        self.user, self.names = user, frozenset({user, *names})
        written = {form for name in self.names for form in _forms(name)}
        self._needles = tuple(sorted(written))
        choice = b"|".join(map(re.escape, self._needles))
        self._named = re.compile(rb"(?<![0-9A-Za-z_-])(?:%s)(?![0-9A-Za-z_-])" % choice)
        self._texts: dict[bytes, None] = {}

    def without(self, value: Any, *, document: bool = False) -> Any:
        """The value without what is about the user: the value itself if it names the user nowhere.

        A record is about the user if one of `USER_KEYS` has the user's id, or if a record in it is, such as its label.
        Of a list such records are left out, and a mapping loses the keys that are the user's id. JSON in a text is
        read as well. Of a `document`, which is one value and no row, an inner record becomes null.
        """
        if isinstance(value, dict):
            return self._without_in_mapping(value, document)
        if isinstance(value, list):
            kept = [left for item in value if (left := self.without(item)) is not GONE and not self._is_user(item)]
            return value if len(kept) == len(value) and all(map(_same, kept, value)) else kept
        if isinstance(value, str) and value[:1] in ("{", "[") and self.is_named_in(value.encode("utf-8", "replace")):
            return self._without_in_json(value)
        return value

    def _without_in_mapping(self, value: dict[Any, Any], document: bool) -> Any:
        kept = {}
        for key, item in value.items():
            if plain(str(key)) in USER_KEYS and self._is_user(item):
                self._keep_texts(value)
                return GONE
            if key in self.names:
                self._keep_texts(item)
                continue
            left = self.without(item, document=document)
            if left is GONE and not document:
                self._keep_texts(value)
                return GONE
            kept[key] = None if left is GONE else left
        unchanged = len(kept) == len(value) and all(kept[key] is item for key, item in value.items())
        return value if unchanged else kept

    def _without_in_json(self, text: str) -> Any:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return text
        left = self.without(value)
        return left if left is GONE else text if left is value else json.dumps(left, ensure_ascii=False)

    def without_in_line(self, line: bytes) -> bytes | None:
        """A line of JSON without the user, None if it is about the user. A line that names the user and cannot be
        read, such as one that was cut, is dropped."""
        if not self.is_named_in(line):
            return line
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            return None
        left = self.without(value)
        if left is value:
            return line
        return None if left is GONE else json.dumps(left, ensure_ascii=False).encode() + b"\n"

    def is_named_in(self, data: bytes) -> bool:
        """True if the id, or its hash, stands in the bytes as a word of its own."""
        # The plain search is ten times faster and says no for nearly all data.
        return any(needle in data for needle in self._needles) and self._named.search(data) is not None

    def is_quoted_in(self, data: bytes) -> bool:
        """True if a text that was removed with the user stands in the bytes."""
        return any(text in data for text in self._texts)

    def _is_user(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return False
        if isinstance(value, float):
            return math.isfinite(value) and value.is_integer() and str(int(value)) in self.names
        return str(value) in self.names

    def _keep_texts(self, value: Any) -> None:
        for text in _texts_of(value):
            if len(self._texts) >= 2 * MOST_TEXTS:
                return
            if len(text) >= SHORTEST_TEXT:
                self._texts |= dict.fromkeys(_forms(text))


def _same(one: Any, other: Any) -> bool:
    return one is other


def _forms(text: str) -> list[bytes]:
    """A text as files write it: as it is, and as JSON with and without escapes beyond ASCII."""
    escaped = (json.dumps(text, ensure_ascii=ascii_only)[1:-1] for ascii_only in (True, False))
    return list({form.encode("utf-8", "surrogatepass") for form in (text, *escaped)})


def _texts_of(value: Any) -> Iterator[str]:
    """The texts of the user in a record."""
    if isinstance(value, dict):
        for key, item in value.items():
            if isinstance(item, str) and plain(str(key)) in TEXT_KEYS:
                yield item
            else:
                yield from _texts_of(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts_of(item)
