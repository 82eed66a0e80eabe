"""How far the workers of a stage are, on the terminal. They may be on other machines, but all write into one folder:
each appends the number of rows it did to one file there, and the driver adds them up."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from rich.console import Console

from persona_rm.progress import progress_bar

SECONDS = 0.5


def tell(path: Path, rows: int) -> None:
    """`rows` more rows are done."""
    with path.open("a") as file:
        file.write(f"{rows}\n")


@contextmanager
def shown(name: str, path: Path, total: int, console: Console) -> Iterator[None]:
    """A bar that follows `path` while the work inside goes on. Rows that Ray had to do twice do not pass the total."""
    path.write_text("")
    ended = Event()
    with progress_bar(console, name, total) as update:

        def follow() -> None:
            while not ended.wait(SECONDS):
                update(min(total, done(path)))

        follower = Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield
        finally:
            ended.set()
            follower.join()


def done(path: Path) -> int:
    """The rows that were told of."""
    return sum(map(int, path.read_text().split()))
