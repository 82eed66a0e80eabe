"""The copy of a text that detectors search: lower case, plain digits, nothing invisible, with the way back.

Full-width and mathematical letters, digits of any script, odd dashes and spaces become ASCII, one character for one;
zero-width characters are taken out, and the offsets of the others are kept.
"""

import re
import unicodedata
from dataclasses import dataclass
from functools import cache

INVISIBLE = re.compile("[\u00ad\u034f\u061c\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff]")
DASHES = "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\ufe58\ufe63\uff0d"
KEPT = frozenset(map(chr, (0xAA, 0xB2, 0xB3, 0xB9, 0xBA, *range(0x2070, 0x20A0))))
"""Superscripts and subscripts stay: 10\u00b2 is not 102."""
LAST = 0x1FFFF
"""No digit or letter form of ASCII lies above."""


@dataclass(frozen=True, slots=True)
class View:
    """The searched copy, the same before lower case, and each character's place in the original (None: the same)."""

    text: str
    written: str
    offsets: list[int] | None = None

    def original(self, start: int, end: int) -> tuple[int, int]:
        """Where a stretch of the copy lies in the original."""
        if self.offsets is None:
            return start, end
        return self.offsets[start], self.offsets[end - 1] + 1


def view(text: str) -> View:
    """The searched copy of a text; nearly free for ASCII."""
    if text.isascii():
        return View(text.lower(), text)
    table, odd = _table()
    # `offsets` hold only if all later steps keep the number of characters: the table maps one to one, and so does
    # `lower` once U+0130, the only character whose lower case is two, is in the table.
    offsets = None
    if INVISIBLE.search(text):
        invisible = {match.group() for match in INVISIBLE.finditer(text)}
        offsets = [place for place, letter in enumerate(text) if letter not in invisible]
        text = INVISIBLE.sub("", text)
    if odd.search(text):
        text = text.translate(table)
    return View(text.lower(), text, offsets)


@cache
def _table() -> tuple[dict[int, str], re.Pattern[str]]:
    """Character -> its ASCII form, and a pattern of the characters that have one."""
    table = {ord(dash): "-" for dash in DASHES} | {0x3002: ".", 0x130: "i"}
    for code in range(0x80, LAST + 1):
        letter = chr(code)
        if letter not in KEPT and (plain := _plain(letter)):
            table.setdefault(code, plain)
    return table, re.compile(f"[{''.join(re.escape(chr(code)) for code in table)}]")


def _plain(letter: str) -> str:
    digit = unicodedata.decimal(letter, None)
    if digit is not None:
        return str(digit)
    form = unicodedata.normalize("NFKC", letter)
    return form if len(form) == 1 and form.isascii() else ""
