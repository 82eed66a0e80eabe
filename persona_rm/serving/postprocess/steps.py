"""The steps from a raw result to the reward that is given. The package says their order and why."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from persona_rm.bundle.postprocess_config import Floor, Length, Mix, PostprocessConfig, Shrinkage
from persona_rm.errors import DataError, ScoreError
from persona_rm.io.json_rows import atomic
from persona_rm.serving.curves import PREFIX
from persona_rm.serving.postprocess.monitor import Monitor, part
from persona_rm.serving.postprocess.running_statistics import Running, RunningTable

LOGS = f"{PREFIX}postprocess/"
LARGEST = 1e100
"""Larger numbers are refused as infinite ones are: their squares would be."""
VERSION = 1
_Stepped = tuple[float, dict[str, float]]
_Step = Callable[[float, "Raw"], _Stepped]


@dataclass(frozen=True, slots=True)
class Raw:
    """One result before postprocess. What no option needs may stay None."""

    reward: float
    """The method's, on its own scale; with a group, after the group's normalisation."""
    user: str | None = None
    """None for a stranger: no statistics are kept under ids that nobody knows."""
    group: str | None = None
    """The person's group, as the bundle says it."""
    n_items: int | None = None
    """Items of evidence behind the person's state."""
    std: float | None = None
    """The method's, on the scale of `reward`."""
    prior: float | None = None
    """The method's reward of this response with its prior state, on the scale of `reward`."""
    universal: float | None = None
    safety: float | None = None
    length: int | None = None
    """Of the response, in the unit of `PostprocessConfig.needs_length`."""


class Postprocessor:
    """The steps that are on, and their running statistics: the state of one actor. One thread at a time.

    A sample is standardised by the statistics of those before it and counts in them afterwards, so no sample meets
    itself. A sample that raises leaves no trace.
    """

    def __init__(self, config: PostprocessConfig) -> None:
        self.config = config
        self.every, self.universal, self.own = Running(), Running(), RunningTable(config.users)
        self.monitor = Monitor(config) if config.monitor else None
        self._steps = self._ordered()

    def apply(self, raw: Raw) -> tuple[float, dict[str, float]]:
        """The reward that is given, and its logs: the same keys for every sample of a config, none where all is off.

        `raw` is the method's reward; the name of each step is by how much it changed it. `shrinkage_std`: by std and
        not by items. `standardise_own`: by the user's own statistics. `standardise_not`: too few samples so far, the
        reward is left as it is. `unsafe`: below the floor's threshold, whether or not the reward was above
        `floor.reward`. The other keys belong to the monitor. Raises `ScoreError` if an option lacks its input or a
        number is not finite.
        """
        self._refuse(raw)
        reward, logs = raw.reward, {"raw": raw.reward} if self.config.on else {}
        for name, step in self._steps.items():
            new, more = step(reward, raw)
            reward, logs = new, {**logs, name: new - reward, **more}
        if self.monitor is not None:
            logs |= self.monitor.seen(raw.user, raw.reward, _given(raw.prior), reward)
        if not all(map(math.isfinite, (reward, *logs.values()))):
            raise ScoreError(
                f"postprocess ({', '.join(self._steps)}) gave a number that is not finite", kind="not_finite"
            )
        return reward, {LOGS + key: value for key, value in logs.items()}

    def forget(self, user: str) -> None:
        """As if this person had never been seen. What they added to everybody's numbers cannot be told apart."""
        if self.config.standardise == "user":
            self.own.forget(user)
        if self.monitor is not None:
            self.monitor.forget(user)

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
        """Go on from a saved state. Raises `DataError`, and changes nothing, where it is another config's or bad."""
        saved = part(state, "version", "config", "every", "universal", "own", "monitor")
        if saved["version"] != VERSION:
            raise DataError(f"statistics of version {saved['version']!r}, this reads {VERSION}", key="version")
        _same(part(saved["config"]), self.config.model_dump(mode="json"))
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

    def _refuse(self, raw: Raw) -> None:
        """Everything that can go wrong, before anything is counted."""
        named = {
            "reward": raw.reward, "std": raw.std, "prior": raw.prior, "universal": raw.universal,
            "safety": raw.safety, "length": raw.length, "n_items": raw.n_items,
        }  # fmt: skip
        for name, value in named.items():
            if value is not None and not abs(value) < LARGEST:
                raise ScoreError(
                    f"postprocess: {name} is {value}, and is to be finite and below {LARGEST:g}", kind="not_finite"
                )
        for name in ("std", "length", "n_items"):
            if (value := named[name]) is not None and value < 0:
                raise ScoreError(f"postprocess: {name} is {value}, and cannot be negative")
        if missing := [name for name in self._needed(raw) if getattr(raw, name) is None]:
            on = ", ".join([*self._steps, *["monitor"] * self.config.monitor])
            raise ScoreError(
                f"postprocess ({on}) needs {' and '.join(missing)} of every sample, and this one has none"
            )

    def _needed(self, raw: Raw) -> list[str]:
        config, shrinkage = self.config, self.config.shrinkage
        by_items = shrinkage is not None and (
            shrinkage.by == "items" or (shrinkage.by == "either" and raw.std is None)
        )
        needs = {
            "std": config.needs_std,
            "n_items": by_items,
            "prior": by_items or config.monitor,
            "group": config.standardise == "group",
            "universal": config.needs_universal,
            "safety": config.needs_safety,
            "length": config.length is not None,
        }
        return [name for name, needed in needs.items() if needed]

    def _ordered(self) -> dict[str, _Step]:
        """The steps that are on, in the one order there is."""
        config, steps = self.config, dict[str, _Step]()
        if config.shrinkage is not None:
            steps["shrinkage"] = partial(_thin, config.shrinkage)
        if config.standardise != "none":
            steps["standardise"] = self._standardise
        if config.mix is not None:
            steps["mix"] = partial(self._mix, config.mix)
        if config.clip is not None:
            steps["clip"] = partial(_clip, config.clip)
        if config.length is not None:
            steps["length"] = partial(_length, config.length)
        if config.floor is not None:
            steps["floor"] = partial(_floor, config.floor)
        return steps

    def _standardise(self, reward: float, raw: Raw) -> _Stepped:
        config = self.config
        key = {"user": raw.user, "group": raw.group}.get(config.standardise)
        own = self.own.get(key)
        ready, has_own = self.every.count >= config.minimum, own.count >= config.minimum
        by = own.toward(self.every, config.pooling) if has_own else self.every
        new = by.standardise(reward) if ready else reward
        self.every = self.every.plus(reward, config.memory)
        self.own.add(key, reward, config.memory)
        return new, {"standardise_own": float(ready and has_own), "standardise_not": float(not ready)}

    def _mix(self, mix: Mix, reward: float, raw: Raw) -> _Stepped:
        score = _given(raw.universal)
        before, self.universal = self.universal, self.universal.plus(score, self.config.memory)
        if mix.standardise and before.count >= self.config.minimum:
            score = before.standardise(score)
        return (1 - mix.weight) * reward + mix.weight * score, {}


def _thin(shrinkage: Shrinkage, reward: float, raw: Raw) -> _Stepped:
    if shrinkage.by != "items" and raw.std is not None:
        return reward - shrinkage.c * raw.std, {"shrinkage_std": 1.0}
    prior, n = _given(raw.prior), _given(raw.n_items)
    return prior + (reward - prior) * n / (n + shrinkage.k), {"shrinkage_std": 0.0}


def _clip(clip: tuple[float, float], reward: float, _: Raw) -> _Stepped:
    low, high = clip
    return min(max(reward, low), high), {}


def _length(length: Length, reward: float, raw: Raw) -> _Stepped:
    return reward - length.coefficient * max(_given(raw.length) - length.free, 0), {}


def _floor(floor: Floor, reward: float, raw: Raw) -> _Stepped:
    unsafe = _given(raw.safety if floor.by == "safety" else raw.universal) < floor.below
    return min(reward, floor.reward) if unsafe else reward, {"unsafe": float(unsafe)}


def _given(value: float | None) -> float:
    """What `_refuse` has made sure of."""
    if value is None:
        raise ScoreError("postprocess: an input of a step is missing")
    return value


def _same(saved: Any, now: dict[str, Any]) -> None:
    """The same config, or `DataError` naming the keys that differ."""
    if differing := sorted(key for key in {*saved, *now} if saved.get(key) != now.get(key)):
        raise DataError(f"statistics gathered under another {', '.join(differing)}", key="config")
