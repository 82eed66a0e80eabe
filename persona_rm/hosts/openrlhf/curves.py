"""Curves by group of users that survive the averaging of OpenRLHF 0.11.2.

The host puts each key of `extra_logs` into the `info` of its sample (trainer/ppo_utils/samples_generator.py:289-293).
It needs the same keys on every sample of a micro-batch, or it raises when it splits the batch
(trainer/ppo_utils/experience.py:164-195). It then writes the plain mean of each key over all samples of a step, as
`train/<key>` (utils/logging_utils.py:130). The mean of one group cannot be logged in this way, so it is logged as two
sums:

    persona_rm/sum/<group>     the reward, 0 for samples of other groups -> mean over samples = share x group mean
    persona_rm/share/<group>   1, 0 for samples of other groups          -> mean over samples = share

sum / share is the exact mean of the group in the step (`group_curves`). The running mean `persona_rm/reward/<group>`,
which every sample carries, is the curve to look at while the job runs.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

from persona_rm.extras import extra_needed
from persona_rm.serving.sample_metrics import GROUP_MEAN, PREFIX
from persona_rm.types import RewardResult

SUM, SHARE = f"{PREFIX}sum/", f"{PREFIX}share/"


def extra_logs(result: RewardResult) -> dict[str, float]:
    """The `extra_logs` of one sample: its metrics, and for each group of users the two sums."""
    logs: dict[str, float] = {}
    for key, value in result.trace.metrics.items():
        if key.startswith(GROUP_MEAN):
            group = key.removeprefix(GROUP_MEAN)
            mine = float(group == result.trace.group)
            logs[SUM + group], logs[SHARE + group] = mine * result.reward, mine
        logs[key] = value
    return logs


def group_curves(tags: Mapping[str, Sequence[tuple[int, float]]]) -> dict[str, list[tuple[int, float]]]:
    """The exact mean reward per group and step from the host's scalars (tag -> [(step, value)]). Steps without a
    sample of the group are left out."""
    out: dict[str, list[tuple[int, float]]] = {}
    for tag, sums in tags.items():
        if not tag.startswith(f"train/{SUM}"):
            continue
        group = tag.removeprefix(f"train/{SUM}")
        share = dict(tags.get(f"train/{SHARE}{group}", ()))
        curve = [(step, value / share[step]) for step, value in sums if share.get(step, 0.0) > 0]
        if curve:
            out[group] = curve
    return out


def read_scalars(folder: str | Path) -> dict[str, list[tuple[int, float]]]:
    """Every scalar that the host wrote under `--logger.tensorboard_dir`: tag -> [(step, value)], ordered by step."""
    with extra_needed("reading the curves of a run"):
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out: dict[str, dict[int, float]] = defaultdict(dict)
    for part in sorted({file.parent for file in Path(folder).rglob("events.out.tfevents*")}):
        events = EventAccumulator(str(part), size_guidance={"scalars": 0})
        events.Reload()
        for tag in events.Tags()["scalars"]:
            out[tag].update((event.step, event.value) for event in events.Scalars(tag))
    return {tag: sorted(values.items()) for tag, values in out.items()}
