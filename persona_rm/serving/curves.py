"""The numbers of a reward that reach the host's logs."""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from persona_rm.bundle import UNKNOWN
from persona_rm.types import RewardRequest, RewardResult

PREFIX = "persona_rm/"


class Curves:
    """Turns rewards into per-group numbers that survive the host's averaging.

    The host (0.11.2) needs the same keys on every sample of a micro-batch, or it raises when it splits the batch; it
    then writes the plain mean of each key over all samples of a step. A group's mean is therefore logged as two sums:

        persona_rm/sum/<group>     reward, 0 for the samples of others   -> mean over samples = share x group mean
        persona_rm/share/<group>   1,      0 for the samples of others   -> mean over samples = share
        persona_rm/reward/<group>  the group's mean over its last `window` samples, as known when this sample was
        scored

    sum / share is the exact mean of the step (`group_curves` computes it); the third is a curve to look at while the
    job runs. Before its first sample a group shows the mean of all samples.
    """

    def __init__(self, groups: Sequence[str], dims: Sequence[str], window: int = 64) -> None:
        self.groups, self.dims = [*groups, UNKNOWN], list(dims)
        self._recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=window))

    def logs(self, request: RewardRequest, result: RewardResult) -> dict[str, float]:
        """The numbers of one sample for the host's logs."""
        reward, trace = result.reward, result.trace
        self._recent[trace.group].append(reward)
        self._recent[""].append(reward)
        out = {
            "cold": float(not trace.user_known),
            "bad_label": float(request.bad_label),
            "empty": float(not request.response.strip()),
        }
        for name in self.groups:
            mine = float(name == trace.group)
            out[f"sum/{name}"], out[f"share/{name}"] = mine * reward, mine
            recent = self._recent[name] or self._recent[""]
            out[f"reward/{name}"] = sum(recent) / len(recent)
        out |= {f"dim/{name}": trace.parts.get(name, 0.0) for name in self.dims}
        return {PREFIX + key: value for key, value in out.items()}


def group_curves(tags: Mapping[str, Sequence[tuple[int, float]]]) -> dict[str, list[tuple[int, float]]]:
    """Exact mean reward per group and step from the host's scalars (tag -> [(step, value)]); steps without it are left
    out."""
    start = f"train/{PREFIX}"
    out: dict[str, list[tuple[int, float]]] = {}
    for tag, sums in tags.items():
        group = tag.removeprefix(f"{start}sum/")
        share = dict(tags.get(f"{start}share/{group}", ()))
        if group != tag:
            out[group] = [(step, value / share[step]) for step, value in sums if share.get(step, 0.0) > 0]
    return {group: curve for group, curve in out.items() if curve}


def read_scalars(folder: str | Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar that the host wrote under `--logger.tensorboard_dir`: tag -> [(step, value)], by step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out: dict[str, dict[int, float]] = defaultdict(dict)
    for part in sorted({file.parent for file in Path(folder).rglob("events.out.tfevents*")}):
        events = EventAccumulator(str(part), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            out[tag].update((event.step, event.value) for event in events.Scalars(tag))
    return {tag: sorted(values.items()) for tag, values in out.items()}
