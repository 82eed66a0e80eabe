"""What a client does when a reward cannot be had: stop, or where the host can, leave out the group of samples.

OpenRLHF 0.11.2 has one way to leave something out without a made-up number: dynamic filtering. A group whose mean
score is not inside the range is dropped and another prompt takes its place; a NaN score is inside no range. So a
plugin that meets `SkipGroup` gives `reward=None, scores=nan` for that sample: the host drops all samples of its prompt
before anything is computed from them. Without dynamic filtering, and in the host's evaluation, nothing is dropped.
"""

from collections import deque
from threading import Lock
from typing import Literal, get_args

from persona_rm.errors import HostError, ScoreError

OnFailure = Literal["stop", "skip_group"]
WINDOW, ALLOWED = 100, 10
"""At most so many of the last so many rewards may fail; more is a broken service, not a bad sample."""


class SkipGroup(ScoreError):
    """No reward for this sample, and the job's policy is to train without its group. A plugin that knows no such
    policy stops, as for every `ScoreError`."""


def read_policy(text: str) -> OnFailure:
    """PERSONA_RM_ON_FAILURE. Raises `HostError` naming the policies there are."""
    for policy in get_args(OnFailure):
        if text == policy:
            return policy  # type: ignore[no-any-return]
    raise HostError(f"PERSONA_RM_ON_FAILURE is {text!r}; it is one of {list(get_args(OnFailure))}")


class Failures:
    """Counts, and turns an error into what the policy says."""

    def __init__(self, policy: OnFailure = "stop") -> None:
        self.policy, self.total = policy, 0
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._lock = Lock()

    def passed(self) -> None:
        """A reward was given."""
        with self._lock:
            self._recent.append(False)

    def failed(self, error: ScoreError) -> ScoreError:
        """The error to raise: `SkipGroup` where the policy is to skip and failures are rare, else the error itself or
        one that says that they are not."""
        with self._lock:
            self._recent.append(True)
            self.total += 1
            bad, asked = sum(self._recent), len(self._recent)
        if self.policy == "stop":
            return error
        if bad > ALLOWED:
            many = f"{bad} of the last {asked} rewards failed; skip_group allows {ALLOWED}"
            return ScoreError(f"{many}. The last one: {error.problem}", error.rows)
        return SkipGroup(error.problem, error.rows)
