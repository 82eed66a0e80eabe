import io
import sys
import time

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


def test_redirected_output_has_a_line_now_and_then_on_standard_error(monkeypatch, capsys):
    monkeypatch.setattr("persona_rm.io.progress_bar.EVERY", 0.01)
    screen, said = io.StringIO(), ""
    with progress_bar(Console(file=screen), "check [b]", 100) as update:
        update(40)
        deadline = time.monotonic() + 20
        while "check [b]: 40/100 after 0 s" not in said and time.monotonic() < deadline:
            time.sleep(0.01)
            said += capsys.readouterr().err
    assert "check [b]: 40/100 after" in said
    assert screen.getvalue() == ""
    capsys.readouterr()
    with progress_bar(Console(file=screen, quiet=True), "check", 100):
        time.sleep(0.05)
    assert capsys.readouterr().err == ""
