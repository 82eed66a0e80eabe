"""The main job: the stages of a recipe in their order, and what the report needs beside them."""

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console

from persona_rm.backends.base import Backends
from persona_rm.benchmarks.base import Case
from persona_rm.benchmarks.evaluation import read_figures
from persona_rm.config import did_you_mean
from persona_rm.errors import RecipeError
from persona_rm.hosts import load_host
from persona_rm.io.json_rows import atomic
from persona_rm.io.versions import STACK, installed
from persona_rm.methods.base import Method
from persona_rm.pipeline.members import backends_of, method_of, model_folder, policies, space_of, truth_of
from persona_rm.pipeline.own_files import own_prompts, own_users
from persona_rm.pipeline.own_users import check_own_data
from persona_rm.pipeline.run import RunFolder
from persona_rm.pipeline.stages.evaluate import cases_of, run_eval
from persona_rm.pipeline.stages.infer import run_infer
from persona_rm.pipeline.stages.on_policy import rewards_of, run_rounds
from persona_rm.pipeline.stages.ppo import run_one
from persona_rm.pipeline.stages.train import MODEL, run_build, run_dpo, run_pretrain
from persona_rm.pipeline.studies import run_inference
from persona_rm.pipeline.studies.real import run_real
from persona_rm.recipe import EvalConfig, Recipe
from persona_rm.report.goals import goals_of
from persona_rm.report.page import write_report
from persona_rm.report.report_data import collect
from persona_rm.report.table import figure_table
from persona_rm.report.user_rewards import rewarded_for
from persona_rm.simulator.simulated_language import load_language
from persona_rm.types import Persona, RewardRequest

STAGES = ("pretrain", "build", "infer", "dpo", "eval", "ppo", "report")
"""Every stage of a run, in order. A stage runs if the recipe has its section."""


def check_only(recipe: Recipe, only: Sequence[str]) -> None:
    """Raises `RecipeError` if `only` names a stage that does not exist, or one that this recipe has no section for."""
    evaluates = recipe.eval or recipe.inference or recipe.real
    sections = {**{stage: getattr(recipe, stage) for stage in STAGES}, "eval": evaluates}
    there = [stage for stage in STAGES if sections[stage]]
    for stage in only:
        if stage not in STAGES:
            hint = did_you_mean(stage, STAGES)
            raise RecipeError(f"there is no stage {stage!r}; the stages are: {', '.join(STAGES)}{hint}")
        if stage not in there:
            raise RecipeError(f"recipe {recipe.name!r} has no stage {stage!r}; it has: {', '.join(there)}")


def run_recipe(recipe: Recipe, console: Console, *, only: Sequence[str] = ()) -> Path:
    """Run every stage that the recipe has, or those named in `only`; stages that are done are skipped.

    Returns the run folder. A stage that fails raises, and no later stage runs.
    """
    run = RunFolder(recipe, Path(recipe.folder), console)

    def wanted(stage: str) -> bool:
        return not only or stage in only

    if (own_users(recipe) or own_prompts(recipe)) and (not only or {"infer", "dpo", "ppo"} & {*only}):
        check_own_data(recipe, backends_of(recipe), console)
    keys: dict[str, str] = {}
    if recipe.pretrain and wanted("pretrain"):
        run_pretrain(run, recipe.pretrain)
    if recipe.build and wanted("build"):
        keys["build"] = run_build(run)
    if recipe.infer and wanted("infer"):
        run_infer(run, recipe.infer, keys.get("build", ""))
    # Policies of another run are evaluated, so none is trained here.
    elsewhere = recipe.eval is not None and recipe.eval.runs is not None
    for name, config in recipe.dpo.items() if wanted("dpo") and not elsewhere else ():
        rewards = rewards_of(run, name, config, keys)
        keys[name] = run_rounds(run, name, config, run_dpo(run, name, config, keys.get("build", "")), rewards)
        _gather(run, f"dpo/{name}")
    if recipe.eval and wanted("eval"):
        run_eval(run, recipe.eval)
    if recipe.inference and wanted("eval"):
        run_inference(run, recipe.inference, keys)
    if recipe.real and wanted("eval"):
        run_real(run, recipe.real)
    for name, ppo in recipe.ppo.items() if wanted("ppo") else ():
        run_one(run, name, ppo, keys)
    if recipe.report and wanted("report"):
        make_report(run)
    return run.folder


def _gather(run: RunFolder, stage: str) -> None:
    """Append the exact commands of the stage, and of stages inside it, to the run's own commands.sh, once."""
    every = run.folder / "commands.sh"
    for path in sorted((run.folder / stage).rglob("commands.sh")):
        text = path.read_text()
        if text not in (every.read_text() if every.is_file() else ""):
            with every.open("a") as file:
                file.write(f"# {path.parent.relative_to(run.folder)}\n{text}")


def make_report(run: RunFolder) -> Path:
    """run.json, users.json and report.html of this run, and the summary on the console."""
    info = {
        "title": f"persona_rm: {run.recipe.name}", "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "seed": run.recipe.seed, "hardware": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "versions": installed(("persona_rm", load_host().package, *STACK)),
    }  # fmt: skip
    _write(run.folder / "run.json", info)
    if users := two_users(run):
        _write(run.folder / "users.json", users)
    path = run.folder / "report.html"
    write_report(path, collect(run.folder))
    summary(run.folder, run.console)
    run.console.print(f"Report: {path.resolve()}")
    return path


def summary(folder: Path, console: Console) -> None:
    """The figures of a run as a table, and what PPO did."""
    if (folder / "metrics.json").is_file():
        figures = read_figures(folder / "metrics.json")
        inference = (folder / "inference" / "inference.json").is_file()
        console.print(figure_table(figures, goals_of({figure.name for figure in figures}, inference)))
    for path in sorted(folder.glob("ppo/*/utility.json")):
        utility = json.loads(path.read_text())
        change = utility["difference"]
        size = change["mean"] / max(change["se"], 1e-12)
        console.print(
            f"PPO {path.parent.name}: true utility {utility['before']['mean']:.3f} -> {utility['after']['mean']:.3f}, "
            f"change {change['mean']:+.3f} +- {change['se']:.3f} ({size:+.1f} standard errors)"
        )


def _write(path: Path, content: object) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def two_users(run: RunFolder) -> dict[str, object] | None:
    """The two users who differ most: their directions, what a trained policy rewards, and the same answers scored.

    None if no section of `dpo` reads directions, if its policy is not trained yet, or if there is no truth to show.
    """
    recipe = run.recipe
    trained = _section_on_directions(recipe)
    policy = run.folder / "dpo" / (trained or "") / MODEL
    if not truth_of(recipe) or trained is None or not policy.is_dir():
        return None
    cases = cases_of(recipe, recipe.eval or EvalConfig())
    users = _opposed(cases)
    method = method_of(recipe, recipe.dpo[trained].method, policies(policy, model_folder(recipe.model)))
    prompts, texts = [], []
    for case in cases[:100]:
        prompts += [case.example.prompt] * 2
        texts += [case.example.chosen, case.example.rejected]
    read = load_language(space_of(recipe)).read_levels
    levels = [read(text) for text in texts]
    rewards = [_rewards(method, user, prompts, texts) for user in users]
    answers: list[dict[str, Any]] = []
    for prompt, text, first, second in zip(prompts, texts, *rewards, strict=True):
        answers.append({"prompt": prompt, "text": text, "rewards": [first, second]})
    answers.sort(key=lambda row: -abs(row["rewards"][0] - row["rewards"][1]))
    rows = []
    for user, given in zip(users, rewards, strict=True):
        weights = rewarded_for(levels, given).tolist()
        rows.append({"label": user.user_id, "directions": user.directions, "rewarded_for": weights})
    return {
        "dimensions": [d.name for d in space_of(recipe).dimensions],
        "users": rows,
        "answers": answers[:6],
        "before_after": _before_after(run, [user.user_id for user in users]),
    }


def _section_on_directions(recipe: Recipe) -> str | None:
    """The first section of `dpo` whose method reads directions."""
    for name, section in recipe.dpo.items():
        if method_of(recipe, section.method, Backends()).reads == "directions":
            return name
    return None


def _opposed(cases: Sequence[Case]) -> tuple[Persona, Persona]:
    """The two users of the cases whose directions disagree most."""
    users = list({case.example.persona.user_id: case.example.persona for case in cases}.values())
    pairs = ((_agreement(a, b), i, j) for i, a in enumerate(users) for j, b in enumerate(users[:i]))
    _, i, j = min(pairs)
    return users[i], users[j]


def _agreement(a: Persona, b: Persona) -> int:
    return sum(x * y for x, y in zip(a.directions or (), b.directions or (), strict=True))


def _rewards(method: Method, user: Persona, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
    state = method.adapt(user)
    requests = [RewardRequest(user.user_id, prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
    return [result.reward for result in method.score([state] * len(requests), requests)]


def _before_after(run: RunFolder, users: Sequence[str]) -> list[dict[str, object]]:
    """Rows of answers.jsonl: those of the two users first, then the others, by how much their utility changed."""
    for path in sorted(run.folder.glob("ppo/*/answers.jsonl")):
        # The control says nothing about what a user's own reward does.
        if "shuffled" in path.parent.name:
            continue
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        rows.sort(key=lambda row: (row["user"] not in users, -abs(row["utility_after"] - row["utility_before"])))
        return rows[:4]
    return []
