"""What is printed arrives as it was meant: unbroken where no terminal is, and never read as markup."""

import io
import re
import subprocess
import sys

import pytest
from rich.table import Table
from typer.testing import CliRunner

from persona_rm.cli import app
from persona_rm.errors import MissingExtra
from persona_rm.io.progress_bar import progress_bar
from persona_rm.io.terminal import make_console, print_head
from persona_rm.pipeline.run import RunFolder
from persona_rm.recipe import Recipe
from tests.source import python_files

LONG = "/data/" + "a folder with spaces/" * 12 + "[/a] [red]:smile: end.json"


def printed(*things, **how) -> list[str]:
    file = io.StringIO()
    make_console(file=file).print(*things, **how)
    return file.getvalue().splitlines()


@pytest.mark.parametrize("how", [{}, {"style": "yellow"}])
def test_a_line_with_a_long_path_is_one_line(how):
    assert printed(f"Report: {LONG}", **how) == [f"Report: {LONG}"]
    assert printed("pip install persona_rm[serve]", **how) == ["pip install persona_rm[serve]"]


def test_a_table_neither_wraps_nor_cuts_a_path():
    table = Table("recipe", "what it does")
    table.add_row(LONG, "trains " * 40)
    row = next(line for line in printed(table) if "end.json" in line)
    assert LONG in row
    assert "trains " * 39 in row


def test_columns_of_the_environment_wrap_nothing(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "dumb")
    assert printed(LONG) == [LONG]


def test_a_terminal_keeps_its_width(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    screen = io.StringIO()
    screen.isatty = lambda: True
    console = make_console(file=screen)
    assert console.width == 40
    print_head(console, "build")
    assert max(map(len, screen.getvalue().splitlines())) < 80
    assert make_console(file=io.StringIO(), force_terminal=True).width > 1000  # colours in a log, as FORCE_COLOR asks


def test_stages_of_any_name_are_headed_by_one_short_line(tmp_path):
    file = io.StringIO()
    run = RunFolder(Recipe(name="a"), tmp_path, make_console(file=file))
    for _ in range(2):
        run.stage("ppo/[/a]", {}, lambda _: None)
    head, done, skipped = file.getvalue().splitlines()
    assert re.fullmatch(r"ppo/\[/a\] ─+", head)
    assert len(head) <= 80
    assert done.startswith("ppo/[/a]: done in")
    assert skipped.startswith("ppo/[/a]: done before")


def test_a_progress_bar_of_any_name_is_drawn():
    screen = io.StringIO()
    with progress_bar(make_console(file=screen, force_terminal=True), "[/a]", 1) as update:
        update(1, "[serve]")
    assert "[/a] [serve]" in screen.getvalue()


def test_errors_arrive_as_they_are(tmp_path):
    missing = tmp_path / LONG[1:]
    command = [sys.executable, "-m", "persona_rm.cli", "report"]
    wrong = subprocess.run([*command, "x", str(missing)], capture_output=True, text=True, check=False)
    assert wrong.returncode == 2
    assert str(missing) in wrong.stderr
    unread = subprocess.run([*command[:-1], "run", str(missing)], capture_output=True, text=True, check=False)
    assert unread.returncode == 1
    assert "Traceback" not in unread.stderr
    assert str(missing) in unread.stderr


def test_an_extra_that_is_missing_is_named_with_its_brackets(monkeypatch):
    for module in ("fastapi", "prometheus_client", "uvicorn"):
        monkeypatch.setitem(sys.modules, module, None)
    result = CliRunner().invoke(app, ["serve", "--bundle", "anywhere"])
    assert result.exit_code == 1
    assert f"{MissingExtra.__name__}: " in result.output
    assert "pip install persona_rm[serve]" in result.output


def test_there_is_one_place_that_makes_consoles_and_no_markup():
    makes = re.compile(r"\bConsole\(|markup=True|from_markup|\[/(?:bold|dim|red|green|yellow)?\]")
    bad = [
        path.name
        for path in python_files("persona_rm")
        if path.name != "terminal.py" and makes.search(path.read_text(encoding="utf-8"))
    ]
    assert bad == []


def test_control_characters_of_a_text_are_spelled():
    out = io.StringIO()
    console = make_console(file=out)
    console.print("a\x1b[31mred\x07 \u009b")
    table = Table("user")
    table.add_row("\x1b]0;title")
    console.print(table)
    said = out.getvalue()
    assert "a\\x1b[31mred\\x07 \\x9b" in said
    assert "\\x1b]0;title" in said
    assert "\x1b" not in said
