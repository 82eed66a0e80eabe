"""What a client does if no reward is available: stop, or if the host can, leave out the group of samples.

OpenRLHF 0.11.2 has one way to leave something out without a made-up number: dynamic filtering. A group whose mean
score is not strictly between two bounds is dropped and another prompt takes its place; NaN is between no bounds. A
plugin that catches `SkipGroup` gives `reward=None, scores=nan` for that sample: the host drops all samples of its
prompt before anything is computed or logged from them. When the prompts are exhausted the last rollout is smaller, or
there is none. Without dynamic filtering, and in the host's evaluation, nothing is dropped, and None ends the job with
an error: `recipe.cannot_skip` refuses such a job before it starts. What was left out is reported by a warning with a
running count, in `skipped.jsonl` beside the run, and by the curve `persona_rm/skipped`.
"""

import json
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Hashable
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, Literal, get_args

from persona_rm.errors import HostError, ScoreError
from persona_rm.serving.curves import PREFIX

logger = logging.getLogger(__name__)
OnFailure = Literal["stop", "skip_group"]
WINDOW, ALLOWED = 100, 10
"""At most ALLOWED of the last WINDOW may fail; more is a broken service, not a bad sample."""
FAILURES, SKIPPED = "failures.jsonl", "skipped.jsonl"
"""In the folder of a run (PERSONA_RM_RUN): why the job was stopped, and what was left out. No texts."""


class SkipGroup(ScoreError):
    """No reward for this sample, and the job's policy is to train without its group. A plugin without such a policy
    stops, as for every `ScoreError`."""


def read_policy(text: str) -> OnFailure:
    """The value of PERSONA_RM_ON_FAILURE. Raises `HostError` naming the policies."""
    for policy in get_args(OnFailure):
        if text == policy:
            return policy  # type: ignore[no-any-return]
    raise HostError(f"PERSONA_RM_ON_FAILURE is {text!r}; it is one of {list(get_args(OnFailure))}")


class Failures:
    """Counts failures, and turns an error into the one that the policy demands.

    Each client has its own, that is, each rollout engine of the host: one engine with more than 10 failures of its
    last 100 ends the job, whatever the others saw. All samples of a prompt go to one engine and prompts go to all in
    turn, so a share that is too large shows in each; but with k engines up to 10 k failures can pass before the first
    window is full. `about` is what was asked (user and prompt): its samples count once, or one bad prompt of 16
    samples would look like 16 failures; without it each call counts.
    """

    def __init__(self, policy: OnFailure = "stop") -> None:
        self.policy, self.total, self.skipped = policy, 0, 0
        self._recent: OrderedDict[Hashable, bool] = OrderedDict()
        self._lock = Lock()

    def passed(self, about: Hashable = None) -> None:
        """A reward was given."""
        with self._lock:
            self._count(about, False)

    def failed(self, error: ScoreError, about: Hashable = None) -> ScoreError:
        """The error to raise: `SkipGroup` if the policy is to skip and failures are rare, else the error itself or one
        that says that they are not rare."""
        with self._lock:
            self._count(about, True)
            self.total += 1
            bad, asked = sum(self._recent.values()), len(self._recent)
        if self.policy == "stop":
            return error
        if bad > ALLOWED:
            many = f"{bad} of the last {asked} rewards failed; skip_group allows {ALLOWED}"
            return ScoreError(f"{many}. The last one: {error.problem}", error.rows, error.kind)
        return SkipGroup(error.problem, error.rows, error.kind)

    def logs(self) -> dict[str, float]:
        """For the host's curves, beside a reward that was given: the failed share of the last 100. Empty if the policy
        is to stop."""
        if self.policy == "stop":
            return {}
        with self._lock:
            return {f"{PREFIX}skipped": sum(self._recent.values()) / max(len(self._recent), 1)}

    def leave_out(self, error: ScoreError, user: str | None) -> None:
        """Log that a sample is left out, how many were in this process, and why. Raises `OSError` if the run's folder
        cannot be written: nothing is left out in silence."""
        with self._lock:
            self.skipped += 1
            logger.warning("persona_rm: sample left out, %d in this process: %s", self.skipped, error.problem)
            _write(SKIPPED, {"user": user, "reason": error.problem, "pid": os.getpid(), "total": self.skipped})

    def _count(self, about: Hashable, bad: bool) -> None:
        """One bad sample makes its prompt bad."""
        key = object() if about is None else hash(about)
        self._recent[key] = self._recent.pop(key, False) or bad
        if len(self._recent) > WINDOW:
            self._recent.popitem(last=False)


def note_stop(reason: str) -> None:
    """Put the reason beside the run, so that it comes before the host's own lines."""
    with suppress(OSError):
        _write(FAILURES, {"reason": reason})


def _write(name: str, row: dict[str, Any]) -> None:
    if run := os.environ.get("PERSONA_RM_RUN"):
        with (Path(run) / name).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"time": round(time.time(), 3), **row}, ensure_ascii=False) + "\n")
