"""How far the workers of a stage are, on the terminal. They may be on other machines, but all write into one folder:
each appends the number of rows it did, and its memory, to one file there, and the driver adds them up."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

from rich.console import Console

from persona_rm.io.progress_bar import progress_bar

SECONDS = 0.5


def tell(path: Path, rows: int) -> None:
    """`rows` more rows are done, by this process, whose memory had this peak (MB)."""
    with path.open("a") as file:
        file.write(f"{rows} {os.getpid()} {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}\n")


@contextmanager
def shown(name: str, path: Path, total: int, console: Console) -> Iterator[None]:
    """A bar that follows `path` while the work inside goes on. Rows that Ray had to do twice do not pass the total."""
    # A resumed stage finds the lines of the run that was killed: its rows are not part of this total.
    path.write_text("")
    ended = Event()
    with progress_bar(console, name, total) as update:

        def follow() -> None:
            while not ended.wait(SECONDS):
                update(min(total, done(path)))

        # A daemon, so that an error on the driver does not wait for it.
        follower = Thread(target=follow, daemon=True)
        follower.start()
        try:
            yield
        finally:
            ended.set()
            follower.join()


def done(path: Path) -> int:
    """The rows that were told of."""
    return sum(int(line.split()[0]) for line in path.read_text().splitlines())


def peaks(path: Path) -> list[int]:
    """The peak memory (MB) of each process that told of rows."""
    lines = [line.split() for line in path.read_text().splitlines()] if path.is_file() else []
    largest: dict[str, int] = {}
    for _, process, size in lines:
        largest[process] = max(largest.get(process, 0), int(size))
    return list(largest.values())
