"""Log lines that many callers cause at once are written a few times, and then counted."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

KINDS = 1000
"""Kinds of lines that are remembered."""


class RepeatLimit(logging.Filter):
    """Passes the first `burst` lines of a kind in each `seconds`. The next line that passes says how many were left
    out. Lines are of one kind if logger, level and template agree."""

    def __init__(self, burst: int = 10, seconds: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.burst, self.seconds, self.clock = burst, seconds, clock
        self._windows: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """True for a line that is written."""
        # A template of asyncio has several lines, of which the later ones name a connection.
        kind = record.name, record.levelno, str(record.msg).partition("\n")[0][:200]
        now, (began, n) = self.clock(), self._windows.get(kind, (-self.seconds, 0))
        lost = 0
        if now - began >= self.seconds:
            began, n, lost = now, 0, max(n - self.burst, 0)
        if len(self._windows) >= KINDS:
            self._windows.clear()
        self._windows[kind] = began, n + 1
        if lost:
            record.msg = f"{record.msg} ({lost} more lines of this kind were left out before)"
        return n < self.burst


@contextmanager
def repeat_limit(*names: str, burst: int = 10, seconds: float = 10.0) -> Iterator[None]:
    """Inside the block, these loggers write at most `burst` lines of a kind in each `seconds`."""
    limit = RepeatLimit(burst, seconds)
    for name in names:
        logging.getLogger(name).addFilter(limit)
    try:
        yield
    finally:
        for name in names:
            logging.getLogger(name).removeFilter(limit)
