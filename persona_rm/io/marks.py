"""Marks for texts that are missing: removed by a site, withdrawn by their author, or empty to a reader.

The words stand in marks.yaml, with their sources. Sources and cleaning ask here, so that they agree.
"""

import re
from functools import cache
from pathlib import Path
from typing import Any

from persona_rm.io.text import is_blank, without_invisible
from persona_rm.io.yaml_file import read_yaml

FILE = Path(__file__).with_name("marks.yaml")
LONGEST_NOTICE = 240
"""Characters of the longest notice about a removed text; what is longer is a text."""
EMPHASIS = str.maketrans({"\\": "", "*": "", "~": "", "`": "", "_": " "})
"""Markdown around a notice, and the backslashes of an escaped one."""
BLANK_MARK = re.compile(
    r"&(?:#x0*(?:200[b-f]|20[26][0-9a-f]|feff|a0|ad|2800|3164)"
    r"|#0*(?:820[3-7]|65279|160|173|10240|12644)|nbsp|zwnj|zwj|lrm|rlm|shy|ensp|emsp|thinsp|nobreak|zerowidthspace);?"
    r"|!\[(?:gif|img|image)\]\([^()\s]{0,200}\)",
    re.IGNORECASE,
)
"""Entities of characters that a reader does not see, and the marks of Reddit for a gif or an emote."""


@cache
def _marks() -> dict[str, Any]:
    marks: dict[str, Any] = read_yaml(FILE)
    return marks


def words_of(name: str) -> tuple[str, ...]:
    """One of the lists of marks.yaml."""
    value = _marks()[name]
    return tuple(value.split()) if isinstance(value, str) else tuple(value)


@cache
def _notice() -> re.Pattern[str]:
    first, after = "|".join(words_of("removed")), "|".join(words_of("removed_by"))
    return re.compile(rf"\[\s*(?:{first})(?:[\s-]+(?:{after})\b.*)?\s*[.!]?\s*\]", re.DOTALL)


def is_removed(text: str) -> bool:
    """True for a text that is only a notice that there was one: "[ Removed by Reddit ]", "\\[removed\\]"."""
    # Most texts are longer, and none of them is copied.
    if len(text) > LONGEST_NOTICE or "[" not in text:
        return False
    plain = without_invisible(text).translate(EMPHASIS).strip().casefold()
    return _notice().fullmatch(plain) is not None


def is_withdrawn(text: str) -> bool:
    """True for a text that its author has overwritten by a tool for that, which signs what it wrote."""
    lower = text.casefold()
    return any(phrase in lower for phrase in words_of("withdrawn"))


def says_nothing(text: str) -> bool:
    """True for a text in which a reader sees no words: white space, invisible characters, their entities, a gif."""
    if "&" in text or "![" in text:
        text = BLANK_MARK.sub("", text)
    return is_blank(text)


def is_image_placeholder(alt: str) -> bool:
    """True for an alternative text that an editor wrote, and not the user."""
    return alt.strip().casefold() in words_of("image_placeholders")
