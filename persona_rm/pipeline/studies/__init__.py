"""The evaluation of inferred directions on the simulator: <run>/inference/inference.json and figures.

All users, posts and wordings are held out; everything that is learned is learned on the training side. The same
policy gets vote, posterior and golden directions on the same pairs. Intervals resample users.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from persona_rm.benchmarks.evaluation import read_figures, write_figures
from persona_rm.benchmarks.figures import Figure
from persona_rm.benchmarks.study_config import InferenceConfig
from persona_rm.pipeline.members import model_folder
from persona_rm.pipeline.run import RunFolder, file_hash
from persona_rm.pipeline.stages.evaluate import policy_of
from persona_rm.pipeline.studies.alignment import alignment
from persona_rm.pipeline.studies.direction_accuracy import by_items, calibration, dimensions, error_rates, table
from persona_rm.pipeline.studies.question_study import asking, priors
from persona_rm.pipeline.studies.study import Study
from persona_rm.pipeline.studies.tastes_study import tastes
from persona_rm.registry import Member

FOLDER = "inference"
PARTS = (table, calibration, dimensions, error_rates, by_items, priors, asking, tastes)


def run_inference(run: RunFolder, config: InferenceConfig, upstream: Mapping[str, str]) -> str:
    """All figures of inferred directions, which are also added to the run's metrics.json.

    Raises `RecipeError` if the policy is missing, or if the source is not the simulator.
    """
    policy = policy_of(run.folder, config.policy)
    inferrer: Member = run.recipe.infer.inferrer if run.recipe.infer else {"name": "posterior"}

    def work(folder: Path) -> None:
        study = Study(run, config, inferrer)
        for part in PARTS:
            study.results |= part(study)
        study.results |= alignment(study, policy)
        (folder / "inference.json").write_text(json.dumps(study.results, indent=1) + "\n", encoding="utf-8")
        study.sheet.write(folder / "metrics.json")

    recipe, base = run.recipe, model_folder(run.recipe.model)
    inputs = {"config": config, "policy": file_hash(policy), "inferrer": inferrer, "infer": recipe.infer}
    inputs |= {"source": recipe.source, "space": recipe.space, "prompts": recipe.prompts, "seed": recipe.seed}
    key = run.stage(FOLDER, {**inputs, "model": file_hash(base), "build": upstream.get("build", "")}, work)
    merge_figures(run.folder)
    return key


def merge_figures(folder: Path) -> None:
    """Write the run's metrics.json: the figures of its evaluation, then these."""
    figures: dict[str, Figure] = {}
    for path in (folder / "eval" / "metrics.json", folder / FOLDER / "metrics.json"):
        figures |= {figure.name: figure for figure in read_figures(path)} if path.is_file() else {}
    write_figures(folder / "metrics.json", list(figures.values()))
