"""HTML -> tokens, in time linear in the length of the text for every text.

`html.parser` of the standard library raises AssertionError for `<![` in prose and takes quadratic time for unclosed
quotes, and its behaviour differs between versions of Python. What is no markup stays text here.
"""

import html
import re
from collections.abc import Iterator
from typing import NamedTuple

TAG = re.compile(
    r"""<(/?)([a-zA-Z][^\s/<>]*+)((?:[^>"'=]++|=\s*+(?:"[^"]*+"|'[^']*+')|[="'])*+)>""",
)
"""A tag whose quoted values may hold `>`. Possessive, so that a failure is found in one pass."""
PLAIN_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/<>]*+)([^>]*+)>")
"""A tag up to the next `>`, for a text in which a quote is never closed."""
ATTRIBUTE = re.compile(r"""([^\s=>"'/]++)\s*+=\s*+(?:"([^"]*+)"|'([^']*+)'|([^\s>"']++))""")
MARKUP = re.compile(r"<(?:[a-zA-Z/?]|!(?:--|doctype|\[cdata\[|\[(?:end)?if\b))", re.IGNORECASE)
"""What begins with `<` and is more than a sign in a text: a tag, a comment, a declaration."""
LONG_NUMBER = re.compile(r"&#(?:\d{8,}|[xX][0-9a-fA-F]{7,});?")
"""A reference to no character. `html.unescape` raises ValueError if it has thousands of digits."""
CLOSERS = (("<!--", "-->"), ("<![cdata[", "]]>"), ("<!", ">"), ("<?", ">"), ("</", ">"))
"""How declarations begin and end. A closing tag without a name is one of them."""
RAW = frozenset(("script", "style"))
"""Elements whose content is no HTML."""


class HtmlToken(NamedTuple):
    """`kind`: "text", "start" or "end"; `value`: the text, or the tag in small letters; `attributes` as written."""

    kind: str
    value: str
    attributes: str = ""


def html_tokens(text: str) -> Iterator[HtmlToken]:
    """The tokens of `text`. Nothing is refused: what is no markup is text."""
    reader, begin, place = _Reader(text), 0, 0
    while (match := MARKUP.search(text, place)) is not None:
        tokens, end = reader.markup(match.start())
        if end is None:
            # The sign is a part of the text.
            place = match.start() + 1
            continue
        if begin < match.start():
            yield HtmlToken("text", plain_text(text[begin : match.start()]))
        yield from tokens
        begin = place = end
    if begin < len(text):
        yield HtmlToken("text", plain_text(text[begin:]))


def plain_text(text: str) -> str:
    """The text with its character references replaced."""
    return html.unescape(LONG_NUMBER.sub("\ufffd", text)) if "&" in text else text


def attribute(attributes: str, name: str) -> str:
    """The value of an attribute, "" without it."""
    for match in ATTRIBUTE.finditer(attributes):
        if match[1].lower() == name:
            return plain_text(match[2] or match[3] or match[4] or "")
    return ""


class _Reader:
    """Reads the markup at a place. What was looked for once and does not come any more is not looked for again."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.pattern = TAG
        self.missing: set[str] = set()

    def markup(self, place: int) -> tuple[list[HtmlToken], int | None]:
        """The tokens of the markup at `place` and where it ends; None for its end if it is none."""
        tag = self._tag(place)
        if tag is None:
            return [], self._declaration(place)
        name, end = tag[2].lower(), tag.end()
        if tag[1]:
            return [HtmlToken("end", name)], end
        tokens = [HtmlToken("start", name, tag[3])]
        if name in RAW:
            # Up to its closing tag, or to the end of a text that was cut.
            end = self._after(f"</{name}", end) or len(self.text)
        return tokens if name not in RAW else [], end

    def _tag(self, place: int) -> re.Match[str] | None:
        letter = self.text[place + 1 : place + 2].removeprefix("/") or self.text[place + 2 : place + 3]
        if not (letter.isascii() and letter.isalpha()):
            return None
        if ">" in self.missing:
            return None
        match = self.pattern.match(self.text, place)
        if match is None and self.pattern is TAG:
            # From here on quotes do not close, and trying again at every tag would take quadratic time.
            self.pattern = PLAIN_TAG
            match = self.pattern.match(self.text, place)
        if match is None:
            self.missing.add(">")
        return match

    def _declaration(self, place: int) -> int | None:
        start = self.text[place : place + 9].lower()
        closer = next((end for begin, end in CLOSERS if start.startswith(begin)), None)
        if closer is None or start[1:2].isalpha() or (start[1:2] == "/" and start[2:3].isalpha()):
            return None
        return self._after(closer, place + 2)

    def _after(self, closer: str, place: int) -> int | None:
        """Behind the next `closer` (of an element: behind its closing tag); None without one."""
        if closer in self.missing:
            return None
        if closer.startswith("</"):
            match = re.compile(re.escape(closer) + r"\b[^>]*+>?", re.IGNORECASE).search(self.text, place)
            end = None if match is None else match.end()
        else:
            at = self.text.find(closer, place)
            end = None if at < 0 else at + len(closer)
        if end is None:
            self.missing.add(closer)
        return end
