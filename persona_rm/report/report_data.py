"""What a report shows, read from the folder of a run. Every part may be missing: its section then says how to make it.

The files of a run folder, all JSON unless said otherwise (keys not named here are ignored):

run.json            {"title", "date", "seed", "hardware", "versions": {name: version}, "notes": {figure: explanation},
                     "shortfalls": [sentence]}, all optional
recipe.yaml         the resolved recipe
stages.json         [{"name", "status": "done"|"skipped"|"failed", "seconds"}]
commands.sh         the exact commands, as text
metrics.json        [{"name", "value", "low", "high", "n"}] (`benchmarks.evaluation.write_figures`)
build/card.json     as `construct.card` makes it: {"rows": {name: n}, "drops": {what: {reason: n}}, "levels": {...}}
ppo/NAME/curve.jsonl    one line per step and user group: {"step", "group", "reward_mean", "n"}
ppo/NAME/utility.json   {"before": S, "after": S, "difference": S}, S = {"mean", "se", "n"}: true utility of
                        the answers on held-out prompts; "shuffled" in NAME marks the control
inference/inference.json    see `inference_data`, which also says what is refused
infer/directions.jsonl  one inferred user per line, as the infer stage writes it; `user_words.read_directions`
users.json         {"dimensions": [name of each],
                     "users": [{"label", "directions": [-1|0|1 ...], "rewarded_for": [-1..1 ...]}, and a second],
                     "answers": [{"prompt", "text", "rewards": [of the first, of the second]}],
                     "before_after": [{"user", "prompt", "before", "after", "utility_before", "utility_after"}]}
                    `rewarded_for` is what `user_rewards.rewarded_for` computes
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from persona_rm.benchmarks.evaluation import read_figures
from persona_rm.benchmarks.figures import Figure
from persona_rm.errors import DataError, UnknownName
from persona_rm.io.yaml_file import read_yaml
from persona_rm.report.goals import EMBEDDED_GOALS, Goal, goals_of
from persona_rm.report.inference_data import parse
from persona_rm.report.user_words import UserInWords, read_directions
from persona_rm.space import load_space

Json = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Stat:
    """A mean and its standard error."""

    mean: float
    se: float
    n: int


@dataclass(frozen=True, slots=True)
class PpoFigures:
    """One PPO run: (step, reward) per user group, and the true utility of its answers before and after."""

    name: str
    curves: Mapping[str, tuple[tuple[float, float], ...]] = field(default_factory=dict)
    before: Stat | None = None
    after: Stat | None = None
    difference: Stat | None = None

    @property
    def control(self) -> bool:
        """True for a run in which every user got the rewards of another user."""
        return "shuffled" in self.name

    @property
    def gain(self) -> float | None:
        """By how many standard errors the true utility rose; None if it was not measured."""
        return None if self.difference is None else self.difference.mean / max(self.difference.se, 1e-12)


@dataclass(frozen=True, slots=True)
class ReportData:
    """Everything a report may show."""

    title: str = "persona_rm run"
    info: Json = field(default_factory=dict)
    recipe: Json | None = None
    stages: tuple[Json, ...] = ()
    commands: str = ""
    figures: tuple[Figure, ...] = ()
    goals: Mapping[str, Goal] = field(default_factory=lambda: EMBEDDED_GOALS)
    notes: Mapping[str, str] = field(default_factory=dict)
    card: Json | None = None
    ppo: tuple[PpoFigures, ...] = ()
    two_users: Json | None = None
    inferred_users: tuple[UserInWords, ...] = ()
    inference: Json | None = None
    problems: tuple[str, ...] = ()
    """Lines that could not be read (a run may be killed while it writes), and shortfalls that the run itself names."""


def collect(folder: Path, goals: Mapping[str, Goal] | None = None) -> ReportData:
    """Read what the run has. Raises `DataError` for a folder without a run, and names file and key of a broken one."""
    if not folder.is_dir():
        raise DataError("no run folder here; `persona-rm run RECIPE` makes one", file=folder)
    info = _json(folder / "run.json", dict) or {}
    bad: list[str] = []
    figures = tuple(read_figures(folder / "metrics.json")) if (folder / "metrics.json").is_file() else ()
    inference = _inference(folder / "inference" / "inference.json")
    recipe = _recipe(folder / "recipe.yaml")
    runs = tuple(_ppo(path, bad) for path in sorted((folder / "ppo").glob("*")) if path.is_dir())
    return ReportData(
        title=str(info.get("title", folder.name)),
        info=info,
        recipe=recipe,
        stages=tuple(_json(folder / "stages.json", list) or ()),
        commands=_text(folder / "commands.sh"),
        figures=figures,
        goals=goals_of({figure.name for figure in figures}, inference is not None) if goals is None else goals,
        notes=info.get("notes", {}),
        card=_json(folder / "build" / "card.json", dict),
        ppo=tuple(run for run in runs if run.curves or run.difference),
        two_users=_two_users(folder / "users.json"),
        inferred_users=_inferred_users(folder / "infer" / "directions.jsonl", recipe, bad),
        inference=inference,
        problems=(*bad, *info.get("shortfalls", ())),
    )


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _json(path: Path, kind: type) -> Any:
    """The content of a JSON file of this kind, or None where there is no file."""
    if not path.is_file():
        return None
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise DataError(f"not JSON: {error}; run the stage that writes it again", file=path) from error
    if not isinstance(value, kind):
        raise DataError(f"expected a JSON {kind.__name__}, found {type(value).__name__}", file=path)
    return value


def _recipe(path: Path) -> Json | None:
    if not path.is_file():
        return None
    value = read_yaml(path)
    if not isinstance(value, dict):
        raise DataError(f"expected a mapping, found {type(value).__name__}", file=path)
    return value


def _ppo(folder: Path, bad: list[str]) -> PpoFigures:
    curves: dict[str, list[tuple[float, float]]] = {}
    for number, line in enumerate(_text(folder / "curve.jsonl").splitlines(), 1):
        try:
            row = json.loads(line)
            point = (float(row["step"]), float(row["reward_mean"]))
            # Python's json reads NaN and Infinity, which no axis can show.
            if not all(map(math.isfinite, point)):
                raise ValueError(f"{point} is not finite")
            curves.setdefault(str(row.get("group") or "all users"), []).append(point)
        except (ValueError, KeyError, TypeError) as error:
            bad.append(f"{folder.name}/curve.jsonl, row {number} could not be read: {type(error).__name__} {error}")
    utility = _json(folder / "utility.json", dict) or {}
    stats = {key: _stat(utility, key, folder / "utility.json") for key in ("before", "after", "difference")}
    return PpoFigures(folder.name, {group: tuple(sorted(points)) for group, points in sorted(curves.items())}, **stats)


def _stat(utility: Json, key: str, path: Path) -> Stat | None:
    if not utility:
        return None
    try:
        return Stat(float(utility[key]["mean"]), float(utility[key]["se"]), int(utility[key]["n"]))
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"expected mean, se and n, found {utility.get(key)!r}", file=path, key=key) from error


def _inference(path: Path) -> Json | None:
    content: Json | None = _json(path, dict)
    if content is not None:
        parse(content, path)
    return content


def _two_users(path: Path) -> Json | None:
    content: Json | None = _json(path, dict)
    if content is None:
        return None
    width = len(content.get("dimensions", ()))
    for user in content.get("users", ()):
        for key in ("directions", "rewarded_for"):
            length = len(user.get(key, ()))
            if length != width:
                raise DataError(f"expected {width} values (one per dimension), found {length}", file=path, key=key)
    return content


def _inferred_users(path: Path, recipe: Json | None, bad: list[str]) -> tuple[UserInWords, ...]:
    """The users of the infer stage. A space that is gone, because the run was moved, is a problem and no error."""
    if not path.is_file() or path.stat().st_size == 0:
        return ()
    try:
        space = load_space(str((recipe or {}).get("space", "alignx90")))
    except UnknownName as error:
        bad.append(f"The inferred users cannot be shown: {error}.")
        return ()
    return tuple(read_directions(path, space))
