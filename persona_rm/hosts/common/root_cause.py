"""The first exception in a host's log: usually the cause of the hundreds of lines that follow it.

A worker that fails takes its engine down, the engine its actor, and the actor the trainer. Each of them prints a
traceback that quotes the one before, so the last lines of a log name a consequence ("the engine is dead").
"""

import re
from collections.abc import Iterable
from pathlib import Path

COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
ACTORS = re.compile(r"^(?:\(\w+ pid=\d+[^()]*\) ?)+")
"""The prefixes that Ray and vLLM write before a line of an actor and of its worker process."""
_LOGGER = re.compile(r"^(?:DEBUG|INFO|WARNING|ERROR|CRITICAL) \d\d-\d\d \d\d:\d\d:\d\d (\[[^\]]+\]) ?")
"""The prefix of vLLM's logger, which stands before every line of a traceback that it logs."""
_BEGINS = "Traceback (most recent call last):"
_IGNORED = re.compile(r"^Exception ignored in|^ERROR: ld\.so: .* ignored\.$")
"""What Python and the loader report and then go on: no cause of a failure."""
_NAMED = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception): \S")
_OTHER_MESSAGE = re.compile(r"^(?:\d{4}-\d\d-\d\d[ T]|Traceback |The above exception|During handling|\w+ \d\d-\d\d )")
LINES, WIDTH = 12, 240
"""At most so many lines of an exception's message, each at most so wide."""


def root_cause(log: Path) -> list[str]:
    """The first exception of the log with its message, without colours and the prefixes of actors and loggers.

    It is the exception of the first traceback; in a chain, this is the innermost one. Without a traceback it is the
    first line of the form `SomeError: message`. An empty list means that the log has neither.
    """
    with log.open(encoding="utf-8", errors="replace") as file:
        return first_exception(file)


def first_exception(lines: Iterable[str]) -> list[str]:
    """The same, of lines. Lines of several processes may alternate."""
    inside: set[tuple[str, str]] = set()
    ignored: set[tuple[str, str]] = set()
    named: list[str] = []
    rows = iter(lines)
    for raw in rows:
        source, line = _split(raw)
        if line.startswith("Exception ignored in"):
            ignored.add(source)
        elif line.rstrip() == _BEGINS:
            (ignored if source in ignored else inside).add(source)
        elif not line or line[0].isspace():
            continue
        elif source in inside:
            return [_cut(line), *_message(rows, source)]
        elif source in ignored:
            ignored.discard(source)
        elif not named and _NAMED.match(line):
            named = [_cut(line)]
    return named


def _message(rows: Iterable[str], source: tuple[str, str]) -> list[str]:
    """What follows the first line of an exception in the same process, as far as it belongs to its message."""
    message: list[str] = []
    for raw in rows:
        if len(message) == LINES:
            break
        of, line = _split(raw)
        if of != source:
            # Another logger of the same process began a new message; lines of other processes only come between.
            if of[0] == source[0]:
                break
            continue
        logged = bool(source[1])
        if _OTHER_MESSAGE.match(line) or (not line.strip() and not logged):
            break
        if line.strip() and not _IGNORED.match(line):
            message.append(_cut(line))
    return message


def _split(raw: str) -> tuple[tuple[str, str], str]:
    """The process and the place of the logger that wrote a line, and the line with its indentation."""
    line = COLOUR.sub("", raw).rstrip()
    actors = ACTORS.match(line)
    rest = line[actors.end() :] if actors else line
    logger = _LOGGER.match(rest)
    source = (actors.group().strip() if actors else "", logger.group(1) if logger else "")
    return source, rest[logger.end() :] if logger else rest


def _cut(line: str) -> str:
    return line if len(line) <= WIDTH else f"{line[:WIDTH]} ..."
