"""The reward log of an actor: one JSON line per sample, with the trace and without the texts."""

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

from persona_rm.io.log_ids import LogIds
from persona_rm.io.shared_lines import append_line
from persona_rm.serving.optional_writes import LOG_LINES, OptionalWrites
from persona_rm.types import RewardRequest, RewardResult

LOG_FOLDER = "rewards"
"""The subfolder of a run that holds a log per actor."""


class RewardLog:
    """Writes the lines of one actor to `path`; None writes nothing."""

    def __init__(self, path: Path | None, ids: LogIds, writes: OptionalWrites) -> None:
        self.path, self.ids, self.writes = path, ids, writes
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, request: RewardRequest, result: RewardResult, seconds: float, *, empty: bool) -> None:
        """The line of one sample. `empty`: the response has no word."""
        if self.path is None:
            return
        trace, erased = result.trace, result.status == "erased"
        row: dict[str, Any] = {
            "time": round(time.time(), 3),
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
