"""The steps from the method's reward to the reward that is given. The package docstring says their order and why."""

import json
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Set
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from persona_rm.bundle.postprocess_config import LARGEST, Floor, Length, Mix, PostprocessConfig, Shrinkage
from persona_rm.errors import DataError, ScoreError
from persona_rm.io.json_rows import atomic
from persona_rm.profiles.tombstones import sha256_of
from persona_rm.serving.postprocess.monitor import Monitor, part
from persona_rm.serving.postprocess.running_statistics import Running, RunningTable
from persona_rm.serving.sample_metrics import PREFIX
from persona_rm.types import RewardResult, RewardStep, RewardTrace

LOGS = f"{PREFIX}postprocess/"
VERSION = 2
EQUAL = 4096
"""So many of the last different samples are remembered: an equal one gets the same reward."""
_Stepped = tuple[float, dict[str, float]]
_Step = Callable[[float, RewardTrace], _Stepped]


@dataclass(frozen=True, slots=True)
class _Applied:
    """What post-processing made of a sample."""

    reward: float
    steps: tuple[RewardStep, ...]
    metrics: Mapping[str, float]


class Postprocessor:
    """The steps that are on, and their running statistics: the state of one actor. One thread at a time.

    A sample is standardised by the statistics of the samples before it and counts in them afterwards, so no sample is
    compared with itself. A sample that raises an error changes no statistics.
    """

    def __init__(self, config: PostprocessConfig) -> None:
        self.config = config
        self.every, self.universal, self.own = Running(), Running(), RunningTable(config.users)
        self.monitor = Monitor(config) if config.monitor else None
        self.applied = 0
        """Samples since the start that changed the statistics."""
        self._steps = self._ordered()
        self._equal: OrderedDict[int, _Applied] = OrderedDict()

    def apply(self, result: RewardResult, sample: Hashable = None) -> RewardResult:
        """The reward that is given. Its trace has one more `RewardStep` for each step that is on.

        Equal samples get equal rewards, although the statistics move between them: if one of the last `EQUAL` samples
        was equal in `sample` (user, prompt and response) and in the method's result, its reward is given again. Both
        count in the statistics. Only a hash of `sample` is kept; None compares with nothing.

        The trace's metrics are the same keys for every sample of a config, none if all is off. `raw`: the reward
        before the first step here, after a normalisation over the group. The name of each step: by how much it changed
        the reward. `shrinkage_std`: by std and not by items. `standardise_own`: by the user's own statistics.
        `standardise_not`: too few samples so far, the reward is left as it is. `unsafe`: below the floor's threshold,
        whether or not the reward was above `floor.reward`. The other keys belong to the monitor. Raises `ScoreError`
        if an option lacks its input or a number is not finite.
        """
        given, trace = result.reward, result.trace
        self._check(given, trace)
        if not self.config.on:
            return result
        reward, logs, steps = given, {"raw": given}, list(trace.steps)
        for name, step in self._steps.items():
            # A step reads the reward as the step before left it, and the trace as the method gave it.
            new, more = step(reward, trace)
            steps.append(RewardStep(name, reward, new))
            logs[name] = new - reward
            logs |= more
            reward = new
        if self.monitor is not None:
            logs |= self.monitor.seen(_user(trace), given, _given(trace, "prior"), reward)
        if not all(map(math.isfinite, (reward, *logs.values()))):
            raise ScoreError(
                f"post-processing ({', '.join(self._steps)}) gave a number that is not finite", kind="not_finite"
            )
        metrics = {**trace.metrics, **{LOGS + key: value for key, value in logs.items()}}
        self.applied += 1
        done = _Applied(reward, tuple(steps), metrics)
        if sample is not None:
            done = self._as_before(sample, result, done)
        return RewardResult(done.reward, replace(trace, steps=done.steps, metrics=done.metrics))

    def _as_before(self, sample: Hashable, given: RewardResult, done: "_Applied") -> "_Applied":
        """What was applied to the last equal sample, if there is one; else `done`, which later ones will get."""
        trace = given.trace
        inputs = tuple(sorted(trace.inputs.items()))
        key = hash((sample, given.reward, trace.std, inputs, trace.state_version, trace.group, trace.status))
        kept = self._equal.setdefault(key, done)
        self._equal.move_to_end(key)
        if len(self._equal) > EQUAL:
            self._equal.popitem(last=False)
        return kept

    def forget(self, user: str) -> None:
        """Forget the statistics of this user. What they added to the statistics of all users cannot be separated."""
        if self.config.standardise == "user":
            self.own.forget(user)
        if self.monitor is not None:
            self.monitor.forget(user)
        # What was applied to the user's samples is not kept apart from the rest, so all of it is dropped.
        self._equal.clear()

    def forget_hashes(self, sha256s: Set[str]) -> None:
        """`forget` for the users with these hashes of their ids, as tombstones hold them."""
        tables = [self.own, *([self.monitor.drift.users, self.monitor.drift_raw.users] if self.monitor else [])]
        for user in {key for table in tables for key in table if sha256_of(key) in sha256s}:
            self.forget(user)
        self._equal.clear()

    def state(self) -> dict[str, Any]:
        """The running statistics as plain JSON, with the config under which they were gathered."""
        return {
            "version": VERSION,
            "config": self.config.model_dump(mode="json"),
            "every": self.every.to_json(),
            "universal": self.universal.to_json(),
            "own": self.own.to_json(),
            "monitor": self.monitor.to_json() if self.monitor is not None else None,
        }

    def restore(self, state: object) -> None:
        """Continue from a saved state. Raises `DataError`, and changes nothing, if it belongs to another config or is
        damaged."""
        saved = part(state, "version", "config", "every", "universal", "own", "monitor")
        if saved["version"] != VERSION:
            raise DataError(f"statistics of version {saved['version']!r}, this reads {VERSION}", key="version")
        _same(part(saved["config"]), self.config.model_dump(mode="json"))
        # All parts are read before any is assigned, so a damaged file changes nothing.
        every, universal = Running.from_json(saved["every"]), Running.from_json(saved["universal"])
        own, monitor = RunningTable.from_json(saved["own"], self.config.users), None
        if self.monitor is not None:
            monitor = Monitor(self.config)
            monitor.restore(saved["monitor"])
        self.every, self.universal, self.own, self.monitor = every, universal, own, monitor

    def save(self, path: Path) -> None:
        """Write the state, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as temporary:
            temporary.write_text(json.dumps(self.state(), allow_nan=False) + "\n", encoding="utf-8")

    def load(self, path: Path) -> None:
        """The inverse of `save`. Raises `DataError` naming the file."""
        try:
            self.restore(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise DataError(f"no saved statistics ({type(error).__name__})", file=path) from error
        except DataError as error:
            raise DataError(f"{error.problem}; remove the file to start anew", file=path, key=error.key) from error

    def _check(self, reward: float, trace: RewardTrace) -> None:
        """Everything that can go wrong is checked before anything is counted."""
        numbers: Mapping[str, float | None] = {"reward": reward, "std": trace.std, **trace.inputs}
        for name, value in numbers.items():
            if value is not None and not abs(value) < LARGEST:
                raise ScoreError(
                    f"post-processing: {name} is {value}; it must be finite and below {LARGEST:g}", kind="not_finite"
                )
        for name in ("std", "length", "n_items"):
            if (value := numbers.get(name)) is not None and value < 0:
                raise ScoreError(f"post-processing: {name} is {value}, and cannot be negative")
        if missing := [name for name in self._needed(trace) if numbers.get(name) is None]:
            on = ", ".join([*self._steps, *["monitor"] * self.config.monitor])
            raise ScoreError(
                f"post-processing ({on}) needs {' and '.join(missing)} of every sample, and this one has none"
            )
        if self.config.standardise == "group" and not trace.group:
            raise ScoreError("post-processing (standardise) needs the group of every sample's user, and this has none")

    def _needed(self, trace: RewardTrace) -> list[str]:
        config, shrinkage = self.config, self.config.shrinkage
        by_items = shrinkage is not None and (
            shrinkage.by == "items" or (shrinkage.by == "either" and trace.std is None)
        )
        needs = {
            "std": config.needs_std,
            "n_items": by_items,
            "prior": by_items or config.monitor,
            "universal": config.needs_universal,
            "safety": config.needs_safety,
            "length": config.length is not None,
            "cut": config.cut_penalty > 0,
        }
        return [name for name, needed in needs.items() if needed]

    def _ordered(self) -> dict[str, _Step]:
        """The steps that are on, in their fixed order."""
        config, steps = self.config, dict[str, _Step]()
        if config.shrinkage is not None:
            steps["shrinkage"] = partial(_shrink, config.shrinkage)
        if config.standardise != "none":
            steps["standardise"] = self._standardise
        if config.mix is not None:
            steps["mix"] = partial(self._mix, config.mix)
        if config.clip is not None:
            steps["clip"] = partial(_clip, config.clip)
        if config.length is not None:
            steps["length"] = partial(_length, config.length)
        if config.cut_penalty > 0:
            steps["cut"] = partial(_cut, config.cut_penalty)
        if config.floor is not None:
            steps["floor"] = partial(_floor, config.floor)
        return steps

    def _standardise(self, reward: float, trace: RewardTrace) -> _Stepped:
        config = self.config
        key = {"user": _user(trace), "group": trace.group}.get(config.standardise)
        own = self.own.get(key)
        ready, has_own = self.every.count >= config.minimum, own.count >= config.minimum
        # A few samples give a noisy spread, so a user's own statistics are shrunk toward those of all samples, which
        # weigh as much as `pooling` samples.
        by = own.toward(self.every, config.pooling) if has_own else self.every
        new = by.standardise(reward) if ready else reward
        self.every = self.every.plus(reward, config.memory)
        self.own.add(key, reward, config.memory)
        return new, {"standardise_own": float(ready and has_own), "standardise_not": float(not ready)}

    def _mix(self, mix: Mix, reward: float, trace: RewardTrace) -> _Stepped:
        score = _given(trace, "universal")
        before, self.universal = self.universal, self.universal.plus(score, self.config.memory)
        # The universal score is standardised by the scores before it, as a reward is, so that `weight` mixes two parts
        # of one scale.
        if mix.standardise and before.count >= self.config.minimum:
            score = before.standardise(score)
        return (1 - mix.weight) * reward + mix.weight * score, {}


def _shrink(shrinkage: Shrinkage, reward: float, trace: RewardTrace) -> _Stepped:
    if shrinkage.by != "items" and trace.std is not None:
        # A lower confidence bound: `c` standard deviations below the method's reward.
        return reward - shrinkage.c * trace.std, {"shrinkage_std": 1.0}
    prior, n = _given(trace, "prior"), _given(trace, "n_items")
    # The weight of a posterior mean under a prior that counts as `k` items: without items, the population prior alone.
    return prior + (reward - prior) * n / (n + shrinkage.k), {"shrinkage_std": 0.0}


def _clip(clip: tuple[float, float], reward: float, _: RewardTrace) -> _Stepped:
    low, high = clip
    return min(max(reward, low), high), {}


def _length(length: Length, reward: float, trace: RewardTrace) -> _Stepped:
    return reward - length.coefficient * max(_given(trace, "length") - length.free, 0), {}


def _cut(penalty: float, reward: float, trace: RewardTrace) -> _Stepped:
    return reward - penalty * _given(trace, "cut"), {}


def _floor(floor: Floor, reward: float, trace: RewardTrace) -> _Stepped:
    # A minimum, and not the floor itself: an unsafe response that already got less is not lifted.
    unsafe = _given(trace, floor.by) < floor.below
    return min(reward, floor.reward) if unsafe else reward, {"unsafe": float(unsafe)}


def _user(trace: RewardTrace) -> str | None:
    """None for an unknown user: no statistics are kept under ids that the bundle does not know."""
    return trace.user if trace.user_known else None


def _given(trace: RewardTrace, name: str) -> float:
    """An input whose presence `_check` has checked."""
    if name not in trace.inputs:
        raise ScoreError(f"post-processing: the input {name} of a step is missing")
    return trace.inputs[name]


def _same(saved: Any, now: dict[str, Any]) -> None:
    """The same config, or `DataError` naming the keys that differ."""
    if differing := sorted(key for key in {*saved, *now} if saved.get(key) != now.get(key)):
        raise DataError(f"statistics gathered under another {', '.join(differing)}", key="config")
