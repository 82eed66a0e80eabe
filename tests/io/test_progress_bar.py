import io
import sys

import pytest
from rich.console import Console

from persona_rm.io.progress_bar import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("console", [None, Console(quiet=True), Console(file=io.StringIO())])
def test_without_a_bar_what_is_printed_inside_is_left_alone(monkeypatch, console):
    screen = Terminal()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", screen)
    with progress_bar(console, "scoring", 3) as update:
        sys.stdout.write("hello\n")
        update(3)
    assert screen.getvalue() == "hello\n"


def test_a_bar_shows_its_label_text_and_share():
    screen = io.StringIO()
    with progress_bar(Console(file=screen, force_terminal=True, width=80), "scoring", 3) as update:
        update(2, "loss 0.5")
    assert "scoring loss 0.5" in screen.getvalue()
    assert "2/3" in screen.getvalue()
