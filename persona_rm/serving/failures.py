"""What a client does if no reward is available: it stops the job, or lets the host leave out the group of samples.

The policy `stop` ends the job with the reason. The policy `skip_group` needs a host that can drop all samples of a
prompt before anything is computed from them; the package of each host says how it does that and checks the job's flags
before it starts. What was left out is reported by a warning with a running count, in `skipped.jsonl` beside the run,
and by the metric `skipped`.
"""

import json
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Hashable, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, Literal, get_args

from persona_rm.errors import HostError, ScoreError
from persona_rm.io.log_ids import LogIds
from persona_rm.io.shared_lines import append_line
from persona_rm.serving.sample_metrics import PREFIX

logger = logging.getLogger(__name__)
OnFailure = Literal["stop", "skip_group"]
WINDOW, ALLOWED = 100, 10
"""At most `ALLOWED` of the last `WINDOW` rewards may fail; more means a broken service, not a bad sample."""
FAILURES, SKIPPED = "failures.jsonl", "skipped.jsonl"
"""Files in the folder of a run (PERSONA_RM_RUN): why the job was stopped, what was left out. They hold no texts."""


class SkipGroup(ScoreError):
    """There is no reward for this sample, and the job's policy is to train without its group. A plugin that does not
    know this policy stops the job, as for every `ScoreError`."""


def read_policy(text: str) -> OnFailure:
    """The policy that PERSONA_RM_ON_FAILURE names. Raises `HostError` for another text."""
    for policy in get_args(OnFailure):
        if text == policy:
            return policy  # type: ignore[no-any-return]
    raise HostError(f"PERSONA_RM_ON_FAILURE is {text!r}; it is one of {list(get_args(OnFailure))}")


class Failures:
    """Counts failures, and turns an error into what the policy says.

    Each client counts its own. A host has one client per rollout engine, so one engine with more than 10 failures
    among its last 100 rewards ends the job, whatever the others report. With k engines up to 10 k failures can pass
    before the first window is full. `about` identifies the request, that is, user and prompt: its samples count once,
    because one bad prompt of 16 samples would otherwise look like 16 failures. Without `about` each call counts.
    """

    def __init__(self, policy: OnFailure = "stop") -> None:
        self.policy, self.total, self.skipped = policy, 0, 0
        self.log_ids = LogIds.unkept()
        """How the messages of this process write user ids. A client takes those of the reward actors."""
        self._recent: OrderedDict[Hashable, bool] = OrderedDict()
        self._lock = Lock()

    def passed(self, about: Hashable = None) -> None:
        """A reward was given."""
        with self._lock:
            self._count(about, False)

    def failed(self, error: ScoreError, about: Hashable = None) -> ScoreError:
        """The error to raise: `SkipGroup` if the policy is to skip and failures are rare, else the error itself or
        one that says how frequent failures are."""
        with self._lock:
            self._count(about, True)
            self.total += 1
            bad, counted = sum(self._recent.values()), len(self._recent)
        if self.policy == "stop":
            return error
        # No `SkipGroup` any more, so the plugin stops the job.
        if bad > ALLOWED:
            many = f"{bad} of the last {counted} rewards failed; skip_group allows {ALLOWED}"
            return ScoreError(f"{many}. The last one: {error.problem}", error.rows, error.kind, cause=error.cause)
        return SkipGroup(error.problem, error.rows, error.kind, cause=error.cause)

    def take_log_ids(self, info: Mapping[str, Any]) -> None:
        """Write user ids as the actor of this `info` does, if it says how. The folder of its key is shared."""
        if (ids := info.get("log_ids")) is not None:
            self.log_ids = LogIds.in_folder(ids["folder"], plain=ids["plain"])

    def logs(self) -> dict[str, float]:
        """A metric beside a reward that was given: the failed share of the last 100. Empty if the policy is to
        stop."""
        if self.policy == "stop":
            return {}
        with self._lock:
            return {f"{PREFIX}skipped": sum(self._recent.values()) / max(len(self._recent), 1)}

    def leave_out(self, error: ScoreError, user: str | None) -> None:
        """Report that a sample is left out, why, and how many were in this process. Raises `OSError` if the run's
        folder cannot be written, so that nothing is left out without a message."""
        with self._lock:
            self.skipped += 1
            reason, named = self.log_ids.hide(error.problem), None if user is None else self.log_ids.of(user)
            logger.warning("persona_rm: sample left out, %d in this process: %s", self.skipped, reason)
            _write(SKIPPED, {"user": named, "reason": reason, "pid": os.getpid(), "total": self.skipped})

    def _count(self, about: Hashable, bad: bool) -> None:
        """One failed sample makes its prompt a failure."""
        # Only a hash of user and prompt is kept, not their texts.
        key = object() if about is None else hash(about)
        # `pop` moves the prompt to the end of the window; one that failed stays a failure if another sample of it
        # passes.
        self._recent[key] = self._recent.pop(key, False) or bad
        if len(self._recent) > WINDOW:
            self._recent.popitem(last=False)


def note_stop(reason: str) -> None:
    """Write the reason beside the run, so that it can be shown before the host's own messages. The caller hides user
    ids in it (`LogIds.hide`)."""
    with suppress(OSError):
        _write(FAILURES, {"reason": reason})


def _write(name: str, row: dict[str, Any]) -> None:
    if run := os.environ.get("PERSONA_RM_RUN"):
        append_line(Path(run) / name, json.dumps({"time": round(time.time(), 3), **row}, ensure_ascii=False))
