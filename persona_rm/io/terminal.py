"""The consoles that the library prints to. They print texts as they are: user names and paths are not markup."""

import re
from typing import IO, Any

from rich.console import Console, ConsoleDimensions
from rich.text import Text

CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]|\r(?!\n)")
UNBOUNDED = 100_000
"""The width of a console that is not a terminal. No line is longer, so nothing is wrapped or cut."""
RULE = 80
"""The length of a rule on such a console."""


class PlainConsole(Console):
    """Rich's console, without markup and emoji codes, and as wide as its lines if its output is no terminal.

    Logs and pipes are read by programs and copied from: a path that was wrapped at 80 columns is broken in both.
    """

    def __init__(self, *, stderr: bool = False, file: IO[str] | None = None, **settings: Any) -> None:
        super().__init__(stderr=stderr, file=file, markup=False, emoji=False, **settings)

    def render_str(self, text: str, **settings: Any) -> Text:
        """The text, with control characters spelled: an id from a file must not drive the terminal."""
        return super().render_str(CONTROLS.sub(lambda match: ascii(match[0])[1:-1], text), **settings)

    @property
    def is_bounded(self) -> bool:
        """Is there a terminal, with a last column? (`is_terminal` asks for colours, and FORCE_COLOR sets it.)"""
        try:
            return self.file.isatty()
        except (AttributeError, ValueError):  # a stand-in for a file, or a closed one
            return False

    @property
    def size(self) -> ConsoleDimensions:
        """Columns and lines."""
        size = super().size
        return size if self.is_bounded else ConsoleDimensions(UNBOUNDED, size.height)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size


def make_console(*, stderr: bool = False, file: IO[str] | None = None, **settings: Any) -> PlainConsole:
    """The console for standard output, standard error or `file`; `settings` are rich's (`quiet`, `force_terminal`)."""
    return PlainConsole(stderr=stderr, file=file, **settings)


def print_head(console: Console, title: str, note: str = "") -> None:
    """A line that opens a section: the title, a note behind it, and a rule to the end of the line."""
    text = Text.assemble((title, "bold"), note)
    if console.width < UNBOUNDED:
        console.rule(text, align="left")
    else:
        console.print(text, Text("─" * max(3, RULE - 1 - text.cell_len), style="rule.line"))
