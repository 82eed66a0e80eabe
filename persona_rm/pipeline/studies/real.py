"""The evaluation of inferred directions on text that people wrote: <run>/inference/inference.json and figures.

There is no truth here. Three things can be measured: how often the annotator errs on statements whose trait is known;
whether directions inferred from a user's pairs order that user's other pairs better than another user's directions do;
and whether they agree with published directions.
"""

import json
from pathlib import Path

import numpy as np

from persona_rm.annotators import ANNOTATORS
from persona_rm.annotators.base import Annotator
from persona_rm.annotators.fit import read_statements
from persona_rm.annotators.rates import TraitRates, error_rates
from persona_rm.backends.base import Backends
from persona_rm.backends.minilm import MiniLM, MiniLMConfig
from persona_rm.benchmarks.figures import mean_figure
from persona_rm.benchmarks.study_config import RealConfig
from persona_rm.errors import RecipeError
from persona_rm.pipeline.members import annotator_of, space_of
from persona_rm.pipeline.run import RunFolder, file_hash
from persona_rm.pipeline.studies import FOLDER, merge_figures
from persona_rm.pipeline.studies.real_people import cobbler, ukp
from persona_rm.pipeline.studies.real_psoups import psoups
from persona_rm.pipeline.studies.real_study import RealStudy
from persona_rm.pipeline.studies.study import StudyResults
from persona_rm.recipe import Recipe

PARTS = (ukp, cobbler, psoups)


def run_real(run: RunFolder, config: RealConfig) -> str:
    """All figures of inferred directions on real text, which are also added to the run's metrics.json.

    Raises `RecipeError` if a file is missing, or if the recipe names no file or no annotator.
    """
    files, annotator = files_of(config), _annotator(run.recipe)

    def work(folder: Path) -> None:
        study = RealStudy(run, config, annotator)
        rates = _rates(study)
        for part in PARTS:
            part(study)
        results = {"real": study.rows, "real_rates": rates}
        (folder / "inference.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
        study.sheet.write(folder / "metrics.json")

    hashes = {key: file_hash(path) for key, path in files.items()}
    inputs = {"config": config, "files": hashes, "annotator": annotator_of(run.recipe), "space": run.recipe.space}
    key = run.stage(FOLDER, {**inputs, "seed": run.recipe.seed}, work)
    merge_figures(run.folder)
    return key


def files_of(config: RealConfig) -> dict[str, Path]:
    """The named files by key. Raises `RecipeError` naming key and path of a missing one, or if none is named."""
    given = {"statements": config.statements, "psoups": config.psoups, "cobbler": config.cobbler}
    if config.ukp:
        given |= {"ukp.arguments": config.ukp.arguments, "ukp.judgments": config.ukp.judgments}
    files = {key: Path(path) for key, path in given.items() if path}
    if not files:
        raise RecipeError(f"real names no data; name a file for one of: {', '.join(given)}, ukp")
    for key, path in files.items():
        if not path.is_file():
            part = key.partition(".")[0]
            raise RecipeError(f"real.{key}: there is no file {path}; set real.{key}=PATH, or real.{part}=null")
    return files


def _annotator(recipe: Recipe) -> Annotator:
    """The recipe's annotator. Raises `RecipeError` if it does not read texts: real text carries no levels."""
    given = annotator_of(recipe)
    cls, config = ANNOTATORS.member(given)
    if not cls.reads_text:
        problem = f"real text carries no levels that annotator {given['name']!r} could take"
        raise RecipeError(f"{problem}; name one: annotator=encoder")
    annotator: Annotator = cls(config, space_of(recipe), Backends(encoder=MiniLM(MiniLMConfig())))
    return annotator


def _rates(study: RealStudy) -> list[StudyResults]:
    """Accuracy of the annotator on statements that show a trait; a trait that it never reads has no row."""
    if not study.config.statements:
        return []
    statements = read_statements(Path(study.config.statements))
    rates = error_rates(statements, study.annotator, study.space)
    study.run.console.print(f"annotator: {sum(one.n for one in rates):,} statements, {len(rates)} traits")
    rows = []
    for one in rates:
        # Statements on which the annotator committed itself to a level that is not neutral.
        spoken = sum(row[0] + row[2] for row in one.counts)
        if spoken > 1:
            rows.append(_rate(study, one, spoken))
        else:
            text = f"annotator: {one.trait} has no rate, {spoken} of {one.n} statements were read as it"
            study.run.console.print(text)
    return rows


def _rate(study: RealStudy, one: TraitRates, spoken: int) -> StudyResults:
    name = f"real_rate_{one.trait}_accuracy"
    # Only the share is known. The bootstrap of a mean does not depend on the order, so any one with this share will
    # do.
    right = np.arange(spoken) < round(one.right * spoken)
    units = [str(i) for i in range(spoken)]
    resamples = study.config.resamples
    study.sheet.add([mean_figure(name, right.astype(float), units, seed=study.seed, resamples=resamples)])
    return {"trait": one.trait, "accuracy": one.right, "silent": one.silent, "ece": one.calibration, "n": one.n}
