"""The reward log of an actor: one JSON line per sample, with the trace and without the texts."""

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from persona_rm.io.log_ids import LogIds
from persona_rm.io.shared_lines import append_line
from persona_rm.serving.optional_writes import LOG_LINES, OptionalWrites
from persona_rm.types import RewardRequest, RewardResult

LOG_FOLDER = "rewards"
"""The subfolder of a run that holds a log per actor."""
TAIL = 1 << 16
"""Bytes at the end of a log in which its last line is looked for."""


class SteadyTime:
    """Seconds since 1970 that never fall and never jump: the wall clock at the start, and the steady clock since.

    The curve of a run is made from samples in order of time. After a jump of the wall clock by a day they would be in
    another order, and so in other steps.
    """

    def __init__(
        self, least: float = 0.0, wall: Callable[[], float] = time.time, steady: Callable[[], float] = time.monotonic
    ) -> None:
        """`least`: the time of the last line that was written before."""
        self._steady, self._began = steady, max(wall(), least) - steady()

    def __call__(self) -> float:
        """Now."""
        return self._began + self._steady()


class RewardLog:
    """Writes the lines of one actor to `path`; None writes nothing."""

    def __init__(self, path: Path | None, ids: LogIds, writes: OptionalWrites) -> None:
        self.path, self.ids, self.writes = path, ids, writes
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        self.now = SteadyTime(_last_time(path))

    def write(self, request: RewardRequest, result: RewardResult, seconds: float, *, empty: bool) -> None:
        """The line of one sample. `empty`: the response has no word."""
        if self.path is None:
            return
        trace, erased = result.trace, result.status == "erased"
        row: dict[str, Any] = {
            "time": round(self.now(), 3),
            **trace.to_row(),
            # The line of an erased user must not name the user again, in no form.
            "user": None if erased or trace.user is None else self.ids.of(trace.user),
            "reward": result.reward,
            "finished": request.finished,
            "erased": erased,
            "bad_label": request.bad_label,
            "empty": empty,
            "ms": round(1000 * seconds, 2),
        }
        # Written before the reward is given, so its line is in the file even if the actor is killed next.
        self.writes.attempt(LOG_LINES, partial(append_line, self.path, json.dumps(row, ensure_ascii=False)))


def _last_time(path: Path | None) -> float:
    """The time of the last whole line of a log that an actor of this name wrote before; 0 without one."""
    if path is None or not path.is_file():
        return 0.0
    with path.open("rb") as stream:
        stream.seek(max(path.stat().st_size - TAIL, 0))
        lines = stream.read().splitlines()
    for line in reversed(lines):
        try:
            return float(json.loads(line)["time"])
        except (ValueError, KeyError, TypeError):
            # A line that was cut, by a killed actor at the end or by `TAIL` at the beginning.
            continue
    return 0.0
