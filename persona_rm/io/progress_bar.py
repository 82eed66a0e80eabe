"""The progress bar of every stage: what is done, of how many, and the time that is left."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from threading import Event, Thread
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from persona_rm.io.terminal import make_console

EVERY = 30.0
"""Seconds between the lines that take the place of a bar in redirected output."""


class Update(Protocol):
    """Show that `done` of the total are done, with `text` beside the label."""

    def __call__(self, done: int, text: str = "") -> None: ...


@contextmanager
def progress_bar(console: Console | None, label: str, total: int) -> Iterator[Update]:
    """A bar that disappears when the block ends.

    On a console that is no terminal, a line on standard error says every `EVERY` seconds how far the work is, so that
    a redirected run is not silent and its output stays whole. Without a console, or on a quiet one, there is neither.
    """
    loud = console is not None and not console.quiet
    drawn = console is not None and loud and console.is_terminal
    # Labels may hold names of users and files, whose brackets are not markup.
    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not drawn) as bar:
        task = bar.add_task(label, total=total)
        state = bar.tasks[0]

        def update(done: int, text: str = "") -> None:
            bar.update(task, completed=done, description=f"{label} {text}".rstrip())

        lines = _lines(lambda: f"{state.description}: {state.completed:.0f}/{total}")
        with lines if loud and not drawn else nullcontext():
            yield update


@contextmanager
def _lines(text: Callable[[], str]) -> Iterator[None]:
    """Print `text()` now and then while the block runs. A thread does it, because one step may take minutes."""
    ended, started = Event(), time.monotonic()

    def print_lines() -> None:
        while not ended.wait(EVERY):
            line = f"{text()} after {time.monotonic() - started:.0f} s"
            make_console(stderr=True).print(line, markup=False, highlight=False, soft_wrap=True)

    thread = Thread(target=print_lines, name="progress lines", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
