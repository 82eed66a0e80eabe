"""The progress bar of every stage: what is done, of how many, and the time that is left."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Update(Protocol):
    """Show that `done` of the total are done, with `text` beside the label."""

    def __call__(self, done: int, text: str = "") -> None: ...


@contextmanager
def progress_bar(console: Console | None, label: str, total: int) -> Iterator[Update]:
    """A bar that disappears when the block ends.

    No bar is drawn without a console, or on one that is quiet or no terminal, so that it does not mix with output.
    """
    drawn = console is not None and console.is_terminal and not console.quiet
    # Labels may hold names of users and files, whose brackets are not markup.
    text = TextColumn("{task.description}", markup=False)
    columns = (text, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not drawn) as bar:
        task = bar.add_task(label, total=total)

        def update(done: int, text: str = "") -> None:
            bar.update(task, completed=done, description=f"{label} {text}".rstrip())

        yield update
