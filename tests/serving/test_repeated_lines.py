"""Lines that many callers cause are written a few times and then counted."""

import logging

from persona_rm.serving.repeated_lines import KINDS, RepeatLimit, repeat_limit


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def record(message, *args, name="persona_rm.serving.client", level=logging.WARNING):
    return logging.LogRecord(name, level, "x.py", 1, message, args, None)


def test_lines_of_one_kind_are_written_a_few_times_and_the_next_one_says_how_many_were_not():
    clock = Clock()
    limit = RepeatLimit(3, 10, clock)
    assert [limit.filter(record("row %d", i)) for i in range(100)] == [True] * 3 + [False] * 97
    assert limit.filter(record("another"))
    assert limit.filter(record("row %d", 1, level=logging.ERROR))
    clock.now = 10
    later = record("row %d", 7)
    assert limit.filter(later)
    assert later.getMessage() == "row 7 (97 more lines of this kind were left out before)"
    clock.now = 20
    last = record("row %d", 8)
    assert limit.filter(last)
    assert last.getMessage() == "row 8"


def test_lines_that_differ_in_a_connection_only_are_of_one_kind_and_memory_is_bounded():
    limit = RepeatLimit(1, 10, Clock())
    told = [
        limit.filter(record(f"socket.accept() out of system resource\nsocket: <socket {i}>", name="asyncio"))
        for i in range(50)
    ]
    assert told == [True] + [False] * 49
    for i in range(3 * KINDS):
        limit.filter(record(f"kind {i}"))
    assert len(limit._windows) <= KINDS


def test_the_limit_ends_with_the_block(caplog):
    logger = logging.getLogger("persona_rm.serving.client")
    with repeat_limit(logger.name, burst=2):
        for i in range(5):
            logger.warning("row %d", i)
    assert caplog.messages == ["row 0", "row 1"]
    logger.warning("row %d", 9)
    assert caplog.messages[-1] == "row 9"
