"""HTML bodies of forum posts -> plain text as users write it: paragraphs, lists, quotes, code, link texts.

What a user crossed out is left out, and so are the alternative texts that an editor wrote for an image. Powers keep
their sign: 2<sup>10</sup> is 2^10.
"""

import re

from persona_rm.io.marks import is_image_placeholder, words_of
from persona_rm.sources.html_tokens import HtmlToken, attribute, html_tokens

PARAGRAPHS = frozenset(
    ("p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "table", "tr", "dl", "dt", "dd", "hr", "section")
)
BREAK = "\x00"
"""Stands for <br> until spaces are folded."""
APART = "\x01"
"""Stands behind an index: a digit that follows it is no part of it."""
ORDINAL = frozenset(("st", "nd", "rd", "th", "tm", "sm", "\u00ae", "\u2122"))
"""What is written above the line and is no power: 4th."""
SCRIPTS = {"sup": "^", "sub": "_"}
DEEPEST = 4
"""Powers of powers that keep their sign."""
DEEPEST_MARGIN = 32
"""Quotes and lists inside one another that are drawn as such: each costs every line below it a margin."""
SIGNS = str.maketrans("", "", BREAK + APART)


def to_text(html: str) -> str:
    """The text of `html`; blocks are parted by an empty line, list items by a line end. Linear in its length."""
    writer = _BlockWriter(html)
    for token in html_tokens(html.translate(SIGNS)):
        writer.take(token)
    return writer.text()


class _BlockWriter:
    """Collects blocks; `margins` are what stands before each line: quote marks, list indents, the item's marker."""

    def __init__(self, html: str) -> None:
        self.blocks: list[tuple[str, str]] = []
        self.inline: list[str] = []
        self.margins: list[str] = []
        self.numbers: list[int | None] = []
        self.scripts: list[tuple[str, int]] = []
        self.marker = ""
        self.pre = self.struck = self.deeper = 0
        lower = html.lower()
        # A tag that is never closed crosses nothing out.
        self.closable = {tag: lower.count(f"</{tag}") for tag in words_of("struck_tags")}

    def take(self, token: HtmlToken) -> None:
        """The next token."""
        kind, tag, attributes = token
        if kind == "text":
            self._write(tag)
        elif tag in self.closable:
            self._strike(kind, tag)
        elif tag in SCRIPTS:
            self._script(kind, tag)
        elif kind == "start":
            self._start(tag, attributes)
        else:
            self._end(tag)

    def _write(self, text: str) -> None:
        if text and not self.struck:
            self.inline.append(text)

    def _strike(self, kind: str, tag: str) -> None:
        if kind == "start":
            self.struck += self.closable[tag] > 0
        else:
            self.closable[tag] -= 1
            self.struck = max(0, self.struck - 1)

    def _script(self, kind: str, tag: str) -> None:
        """A power or an index: its content gets a sign when it ends."""
        if kind == "start":
            self.scripts.append((tag, len(self.inline)))
            return
        if not self.scripts or self.scripts[-1][0] != tag:
            return
        _, begin = self.scripts.pop()
        if len(self.scripts) < DEEPEST:
            content = "".join(self.inline[begin:])
            del self.inline[begin:]
            self._write(_signed(tag, content, self.inline[-1][-1] if self.inline else ""))

    def _start(self, tag: str, attributes: str) -> None:
        if tag == "br":
            # Elsewhere than in code, white space is folded later, and a line end would be folded with it.
            self.inline.append("\n" if self.pre else BREAK)
        elif tag == "img":
            alt = attribute(attributes, "alt").translate(SIGNS)
            self._write("" if is_image_placeholder(alt) else alt)
        elif tag in ("td", "th"):
            self.inline.append(" ")
        elif tag in PARAGRAPHS:
            self._flush()
        elif tag == "pre":
            self._flush()
            self.pre += 1
        elif tag in ("blockquote", "ul", "ol", "li"):
            self._flush()
            self._enter(tag)

    def _enter(self, tag: str) -> None:
        if tag in ("ul", "ol"):
            self.numbers.append(0 if tag == "ol" else None)
        elif len(self.margins) >= DEEPEST_MARGIN:
            self.deeper += 1
        elif tag == "blockquote":
            self.margins.append("> ")
        else:
            self.marker = self._next_marker()
            self.margins.append(" " * len(self.marker))

    def _next_marker(self) -> str:
        number = self.numbers[-1] if self.numbers else None
        if number is None:
            return "- "
        self.numbers[-1] = number + 1
        return f"{number + 1}. "

    def _end(self, tag: str) -> None:
        if tag in PARAGRAPHS:
            self._flush()
        elif tag == "pre":
            self._flush()
            # Real bodies close tags that they never opened.
            self.pre = max(0, self.pre - 1)
        elif tag in ("ul", "ol"):
            self._flush()
            del self.numbers[-1:]
        elif tag in ("blockquote", "li"):
            self._flush()
            self._leave(tag)

    def _leave(self, tag: str) -> None:
        """Closes the innermost margin of its kind: real bodies leave tags open."""
        if self.deeper:
            self.deeper -= 1
            return
        for place in reversed(range(len(self.margins))):
            if (self.margins[place] == "> ") == (tag == "blockquote"):
                del self.margins[place:]
                return

    def _flush(self) -> None:
        """Ends the block that is being collected."""
        text, self.inline, self.scripts = "".join(self.inline), [], []
        if APART in text:
            text = re.sub(rf"{APART}(?=\d)", " ", text).replace(APART, "")
        # White space means something in code only.
        body = f"```\n{text.strip(chr(10))}\n```" if self.pre else _folded(text)
        if not text.strip(f" \t\r\n{BREAK}"):
            return
        margin, marker = "".join(self.margins), self.marker
        # An item's margin ends in spaces as wide as its marker, which takes their place in the first line.
        first = margin[: len(margin) - len(marker)] + marker
        lines = body.split("\n")
        # The items of one list follow one another without an empty line.
        joint = "\n" if marker and self.numbers else "\n\n"
        self.blocks.append((joint, "\n".join([first + lines[0], *(margin + line for line in lines[1:])])))
        self.marker = ""

    def text(self) -> str:
        """All blocks."""
        self._flush()
        return "".join(joint + block for joint, block in self.blocks).strip("\n")


def _signed(tag: str, content: str, before: str) -> str:
    """A power or an index as plain text: 2^10, e^(x + 1), 10_2; 4th, H2O and a footnote mark need no sign."""
    plain = content.strip()
    if not plain or plain.casefold() in ORDINAL or not before.strip() or plain[0] in "[(*\u2020" or BREAK in plain:
        return content
    if tag == "sub" and not before.isdigit():
        return content + APART
    body = plain if re.fullmatch(r"[+\-\u2212]?\w+", plain) else f"({plain})"
    return SCRIPTS[tag] + body + APART


def _folded(text: str) -> str:
    lines = re.sub(r"\s+", " ", text).split(BREAK)
    return "\n".join(line.strip() for line in lines).strip("\n")
