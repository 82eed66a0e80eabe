"""The evaluation of inferred directions, on the embedded world: <run>/inference/inference.json and figures.

Held-out people, posts and wordings throughout; what is learned is learned on the training side. Vote, posterior and
golden directions are told to the same policy on the same pairs. Intervals draw people.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from persona_rm.benchmarks.evaluation import read_figures, write_figures
from persona_rm.benchmarks.figures import Figure
from persona_rm.pipeline.members import model_folder
from persona_rm.pipeline.run import RunFolder, file_hash
from persona_rm.pipeline.stages.evaluate import policy_of
from persona_rm.pipeline.studies.alignment import alignment
from persona_rm.pipeline.studies.direction_accuracy import by_items, calibration, dimensions, error_rates, table
from persona_rm.pipeline.studies.question_study import asking, priors
from persona_rm.pipeline.studies.study import Study
from persona_rm.pipeline.studies.tastes_study import tastes
from persona_rm.recipe import InferenceConfig
from persona_rm.registry import Member

FOLDER = "inference"
PARTS = (table, calibration, dimensions, error_rates, by_items, priors, asking, tastes)


def run_inference(run: RunFolder, config: InferenceConfig, upstream: Mapping[str, str]) -> str:
    """All figures of inferred directions; the run's metrics.json gets them beside those of its evaluation.

    Raises `RecipeError` where the policy is missing, or the source is not the embedded world.
    """
    policy = policy_of(run.folder, config.policy)
    inferrer: Member = run.recipe.infer.inferrer if run.recipe.infer else {"name": "posterior"}

    def work(folder: Path) -> None:
        study = Study(run, config, inferrer)
        for part in PARTS:
            study.found |= part(study)
        study.found |= alignment(study, policy)
        (folder / "inference.json").write_text(json.dumps(study.found, indent=1) + "\n", encoding="utf-8")
        study.sheet.write(folder / "metrics.json")

    recipe, base = run.recipe, model_folder(run.recipe.model)
    inputs = {"config": config, "policy": file_hash(policy), "inferrer": inferrer, "infer": recipe.infer}
    inputs |= {"source": recipe.source, "space": recipe.space, "prompts": recipe.prompts, "seed": recipe.seed}
    key = run.stage(FOLDER, {**inputs, "model": file_hash(base), "build": upstream.get("build", "")}, work)
    merge_figures(run.folder)
    return key


def merge_figures(folder: Path) -> None:
    """The run's metrics.json: the figures of its evaluation, then these."""
    figures: dict[str, Figure] = {}
    for path in (folder / "eval" / "metrics.json", folder / FOLDER / "metrics.json"):
        figures |= {figure.name: figure for figure in read_figures(path)} if path.is_file() else {}
    write_figures(folder / "metrics.json", list(figures.values()))
