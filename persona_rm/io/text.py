"""Templates that are filled in and texts that are shortened, by one rule for all parts of the library."""

import re
from collections.abc import Mapping
from unicodedata import category

from persona_rm.errors import DataError

FIELD = re.compile(r"\{([a-z_]+)\}")
"""A field of a template."""
GAP = " [...] "
"""Stands for the middle of a text that was shortened."""


def fill(template: str, fields: Mapping[str, str]) -> str:
    """The template with every `{name}` replaced by its field.

    The template is read once, so braces inside a value stay as they are. Raises `DataError` if the template names a
    field that is not given.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] not in fields:
            raise DataError(f"the template names {{{match[1]}}}; the fields here are: {', '.join(fields)}")
        return fields[match[1]]

    return FIELD.sub(value, template)


def shorten(text: str, limit: int, *, keep_end: bool = True) -> str:
    """The text in at most `limit` characters.

    The middle is left out, because writers open and close with what they mean: two thirds of what stays are the
    beginning. Without `keep_end` the end is left out instead, as it suits labels and headings.
    """
    if len(text) <= limit:
        return text
    if not keep_end:
        return text[: max(0, limit - 1)].rstrip() + "…"
    room = max(0, limit - len(GAP))
    head = room * 2 // 3
    return text[:head] + GAP + text[len(text) - (room - head) :]


def counted(n: int, what: str, plural: str = "") -> str:
    """A number with its noun: "1 user", "2,000 users". `plural` for nouns that take no s."""
    return f"{n:,} {what if n == 1 else plural or what + 's'}"


BLANK = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters and symbols that are drawn as nothing, such as the empty Braille pattern."""
UNSEEN = ("Cc", "Cf", "Zs", "Zl", "Zp")
"""Unicode categories of characters that a reader does not see: controls, formats (zero-width ones), separators."""


def is_blank(text: str) -> bool:
    """True for a text in which a reader sees nothing: `str.strip` leaves zero-width characters and the like."""
    text = text.strip()
    return not text or all(letter in BLANK or category(letter) in UNSEEN for letter in text)


def is_sound(text: str) -> bool:
    """True for text that UTF-8 can write. Half of a surrogate pair, which JSON can spell, is no character."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def without_invisible(text: str) -> str:
    """The text without characters that a reader does not see; white space stays as it is."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(letter for letter in text if letter.isspace() or not _is_invisible(letter))


def visible_length(text: str) -> int:
    """The number of characters that a reader sees between the first and the last one."""
    return len(text.strip()) if text.isascii() else len(without_invisible(text).strip())


def _is_invisible(letter: str) -> bool:
    return letter in BLANK or category(letter) in ("Cc", "Cf")
