"""HTML bodies of forum posts -> plain text as users write it: paragraphs, lists, quotes, code, link texts."""

import re
from html.parser import HTMLParser

PARAGRAPHS = frozenset(
    ("p", "div", "h1", "h2", "h3", "h4", "h5", "h6", "table", "tr", "dl", "dt", "dd", "hr", "section")
)
SILENT = frozenset(("script", "style"))
BREAK = "\x00"
"""Stands for <br> until spaces are folded."""


def to_text(html: str) -> str:
    """The text of `html`; blocks are parted by an empty line, list items by a line end."""
    parser = _Parser()
    parser.feed(html)
    parser.close()
    return parser.text()


class _Parser(HTMLParser):
    """Collects blocks; `margins` are what stands before each line: quote marks, list indents, the item's marker."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.blocks: list[tuple[str, str]] = []
        self.inline: list[str] = []
        self.margins: list[str] = []
        self.numbers: list[int | None] = []
        self.marker = ""
        self.pre = self.silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "br":
            # Elsewhere than in code, white space is folded later, and a line end would be folded with it.
            self.inline.append("\n" if self.pre else BREAK)
        elif tag == "img":
            self.inline.append(dict(attrs).get("alt") or "")
        elif tag in ("td", "th"):
            self.inline.append(" ")
        elif tag in SILENT:
            self.silent += 1
        elif tag in PARAGRAPHS:
            self._flush()
        elif tag == "pre":
            self._flush()
            self.pre += 1
        elif tag in ("blockquote", "ul", "ol", "li"):
            self._flush()
            self._enter(tag)

    def _enter(self, tag: str) -> None:
        if tag == "blockquote":
            self.margins.append("> ")
        elif tag != "li":
            self.numbers.append(0 if tag == "ol" else None)
        else:
            self.marker = self._next_marker()
            self.margins.append(" " * len(self.marker))

    def _next_marker(self) -> str:
        number = self.numbers[-1] if self.numbers else None
        if number is None:
            return "- "
        self.numbers[-1] = number + 1
        return f"{number + 1}. "

    def handle_endtag(self, tag: str) -> None:
        if tag in SILENT:
            # Real bodies close tags that they never opened.
            self.silent = max(0, self.silent - 1)
        elif tag in PARAGRAPHS:
            self._flush()
        elif tag == "pre":
            self._flush()
            self.pre = max(0, self.pre - 1)
        elif tag in ("ul", "ol"):
            self._flush()
            del self.numbers[-1:]
        elif tag in ("blockquote", "li"):
            self._flush()
            self._leave(tag)

    def _leave(self, tag: str) -> None:
        """Closes the innermost margin of its kind: real bodies leave tags open."""
        for place in reversed(range(len(self.margins))):
            if (self.margins[place] == "> ") == (tag == "blockquote"):
                del self.margins[place:]
                return

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.inline.append(data)

    def _flush(self) -> None:
        """Ends the block that is being collected."""
        text, self.inline = "".join(self.inline), []
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


def _folded(text: str) -> str:
    lines = re.sub(r"\s+", " ", text).split(BREAK)
    return "\n".join(line.strip() for line in lines).strip("\n")
