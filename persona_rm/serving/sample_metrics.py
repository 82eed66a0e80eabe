"""The numbers of one reward for the logs of a trainer.

They are the same for every host. The package of a host adds what that host's logging needs.
"""

from collections import defaultdict, deque
from collections.abc import Sequence

from persona_rm.bundle import UNKNOWN
from persona_rm.types import RewardRequest, RewardResult

PREFIX = "persona_rm/"
"""The names of all metrics begin with it."""
GROUP_MEAN = f"{PREFIX}reward/"
"""The name of the mean reward of a group of users is this and the group. Every sample has one for each group."""


class SampleMetrics:
    """Names the numbers of each sample, with the same keys for every sample of a bundle.

        persona_rm/cold             1 if the population prior answered, because the user is missing or unknown
        persona_rm/bad_label        1 if the sample had a label that names no user
        persona_rm/empty            1 if the response has no letters
        persona_rm/cut              1 if the response was cut at a length limit
        persona_rm/reward/<group>   the mean reward of the last `window` samples of the group, this one included
        persona_rm/dim/<dimension>  the part of the reward by a dimension, if the bundle logs it

    Before the first sample of a group its mean is that of all samples.
    """

    def __init__(self, groups: Sequence[str], dims: Sequence[str], window: int = 64) -> None:
        self.groups, self.dims = [*groups, UNKNOWN], list(dims)
        self._all: deque[float] = deque(maxlen=window)
        self._recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=window))

    def of(self, request: RewardRequest, result: RewardResult) -> dict[str, float]:
        """The metrics of one sample, which is counted in the means."""
        trace = result.trace
        self._all.append(result.reward)
        self._recent[trace.group].append(result.reward)
        out = {
            f"{PREFIX}cold": float(not trace.user_known),
            f"{PREFIX}bad_label": float(request.bad_label),
            f"{PREFIX}empty": float(not request.response.strip()),
            f"{PREFIX}cut": float(not request.finished),
        }
        for group in self.groups:
            recent = self._recent[group] or self._all
            out[f"{GROUP_MEAN}{group}"] = sum(recent) / len(recent)
        for dim in self.dims:
            out[f"{PREFIX}dim/{dim}"] = trace.parts.get(dim, 0.0)
        return out
