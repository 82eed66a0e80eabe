"""The stages that train: the starting model, the built examples, and the policies of the host's DPO trainer."""

import json
import os
from pathlib import Path
from typing import Any

from rich.table import Table

from persona_rm.backends.logprob.weights import moved
from persona_rm.backends.pretrain import PretrainConfig, pretrain
from persona_rm.construct.config import ConstructConfig
from persona_rm.construct.job import AnnotatorSpec, BuildJob, BuildResult, build
from persona_rm.construct.job.actors import annotator
from persona_rm.construct.job.order import STAGES
from persona_rm.construct.job.plan import estimated, lines
from persona_rm.construct.job.stage import Stages
from persona_rm.construct.job.stage_keys import keys_of
from persona_rm.construct.stages.raw_stage import Quarantine
from persona_rm.errors import HostError
from persona_rm.hosts import load_host
from persona_rm.hosts.common.env import Device, device
from persona_rm.io.alignx_format import read_examples
from persona_rm.io.progress_bar import progress_bar
from persona_rm.pipeline.members import (
    annotator_of,
    backends_of,
    model_folder,
    simulator_of,
    source_of,
    space_of,
    truth_of,
)
from persona_rm.pipeline.own_users import examples_of_users, read_own_users, with_directions
from persona_rm.pipeline.run import RunFolder, file_hash
from persona_rm.pipeline.stages.dpo_rows import held_out, write_dpo_rows
from persona_rm.recipe import DpoConfig, Recipe
from persona_rm.recipe_sections import HostArgs
from persona_rm.types import Example

DRY_QUARANTINE = "dry_run_quarantine.jsonl"
"""What a dry run could not read, in the folder of the build."""

MODEL = "model"
OFFLINE = "offline"
"""The folder of the training on built examples, in a section of dpo with rounds on the policy's own answers."""


def device_of(recipe: Recipe) -> Device:
    """The device of the host: what the recipe says, or else what the machine has."""
    return device() if recipe.device == "auto" else recipe.device


def run_pretrain(run: RunFolder, config: PretrainConfig) -> Path:
    """Train a starting model on the simulator's language, into <run>/pretrain/model."""
    recipe = run.recipe
    simulator = simulator_of(recipe).config
    start = model_folder(config.start) if config.start else None

    def work(folder: Path) -> None:
        with progress_bar(run.console, "pretrain", config.steps) as update:
            target = folder / MODEL
            report = pretrain(config, start, simulator, recipe.prompts, recipe.space, recipe.seed, target, update)
        run.console.print(f"{report['parameters']:,} parameters, {report['tokens']:,} tokens, {report['seconds']} s")

    inputs = {"config": config, "start": start and file_hash(start), "world": simulator, "prompts": recipe.prompts}
    run.stage("pretrain", {**inputs, "seed": recipe.seed}, work)
    return run.folder / "pretrain" / MODEL


def build_job(recipe: Recipe, *, resume: bool = True, command: str = "") -> BuildJob:
    """The construction of a recipe, into its `build_folder`."""
    annotator = annotator_of(recipe)
    spec = AnnotatorSpec(annotator["name"], {key: value for key, value in annotator.items() if key != "name"})
    return BuildJob(
        source_of(recipe), spec, recipe.build or ConstructConfig(), space_of(recipe), recipe.seed,
        recipe.build_folder.absolute(), recipe.name, recipe.model_dump(mode="json"), resume, command,
    )  # fmt: skip


def run_build(run: RunFolder) -> str:
    """AlignX examples from the source's threads, in <run>/build; the job knows which of its stages to run again."""
    job = build_job(run.recipe, command=f"persona-rm run {run.folder / 'recipe.yaml'} --only build")
    inputs: dict[str, Any] = {"source": job.source.fingerprint(), "name": job.source.name, "annotator": job.spec.name}
    inputs |= {"params": job.spec.params, "config": job.config, "space": run.recipe.space, "seed": job.seed}
    return run.stage("build", inputs, lambda _: print_result(run, build(job)), keeps=True)


def planned(job: BuildJob) -> Table:
    """What `build(job)` would do: stages, rows and cost. What could not be read is listed in a quarantine file."""
    stages = Stages(job.out / STAGES, job.resume)
    shown = Table("stage, rows, cost", "", title="Plan")
    shown.add_row("folder", str(job.out))
    for name, key in keys_of(job).items():
        shown.add_row(f"stage {name}", "done before, skipped" if job.resume and stages.is_done(name, key) else "to do")
    (job.out / DRY_QUARANTINE).unlink(missing_ok=True)
    bad = Quarantine(job.out / DRY_QUARANTINE)
    estimate = estimated(job.source, annotator(job.spec, job.space, os.cpu_count() or 1), job.config, bad)
    for line in lines(estimate, job.config.prices):
        shown.add_row(*line)
    if bad.count:
        shown.add_row("each of them is listed in", str(job.out / DRY_QUARANTINE))
    return shown


def print_result(run: RunFolder, result: BuildResult) -> None:
    """Print where the data is, and every error that the card reports."""
    run.console.print(f"{sum(s['rows'] for s in result.card['splits'].values()):,} examples in {result.folder}")
    for problem in result.card["errors"]:
        run.console.print(problem, style="yellow")


def examples_of(run: RunFolder, evaluation: bool = False) -> list[Example]:
    """The built examples of the training side, or of the evaluation side.

    The evaluation side is the test side if construction split one off, and otherwise the posts that are held out. All
    examples of the simulator are for training, because it draws its test users and posts itself.
    """
    folder = run.recipe.build_folder / "data"
    if held := sorted(folder.glob("test-*.parquet")):
        return _read(run, held if evaluation else sorted(folder.glob("train-*.parquet")))
    examples = _read(run, sorted(folder.glob("train-*.parquet")))
    if truth_of(run.recipe):
        return [] if evaluation else examples
    return [example for example in examples if held_out(example) == evaluation]


def mirrored_of(run: RunFolder) -> list[Example]:
    """The training side's examples of users of the opposite preferences; none without `build.mirror`."""
    if run.recipe.build is None or not run.recipe.build.mirror:
        return []
    examples = _read(run, sorted((run.recipe.build_folder / "mirrored").glob("*.parquet")))
    if truth_of(run.recipe):
        return examples
    return [example for example in examples if not held_out(example)]


def _read(run: RunFolder, files: list[Path]) -> list[Example]:
    """The examples of some files, sorted by their ids, because the order of rows in a file is arbitrary."""
    space = space_of(run.recipe)
    return sorted((e for file in files for e in read_examples(file, space)), key=lambda example: example.id)


def examples_for(run: RunFolder, config: DpoConfig) -> list[Example]:
    """The examples of a section of dpo: the comparisons of its users file, or the built ones."""
    if config.users is None:
        return examples_of(run)
    users = read_own_users(config.users, space_of(run.recipe))
    return examples_of_users(with_directions(users, backends_of(run.recipe)))


def run_dpo(run: RunFolder, name: str, config: DpoConfig, upstream: str) -> str:
    """Write the rows of this section and run the host's DPO trainer; the policy goes to <run>/dpo/<name>/model.

    With `on_policy` it goes to <run>/dpo/<name>/offline/model, and the rounds start from it.
    """
    recipe, base = run.recipe, model_folder(run.recipe.model)
    on = device_of(recipe)

    def work(folder: Path) -> None:
        load_host().require()
        rows = folder / "rows.jsonl"
        count, cut = write_dpo_rows(recipe, config, examples_for(run, config), base, rows, mirrored_of(run))
        run.console.print(f"{name}: {count} rows for the host in {rows}; {cut} longer than data.max_len left out")
        train_dpo(run, base, rows, folder, config.args)

    # What comes after this training is no input of it.
    given = config.model_dump(mode="json", exclude={"on_policy"})
    inputs = {"build": upstream, "config": given, "model": file_hash(base), "prompts": recipe.prompts}
    if config.users is not None:
        inputs["users"] = file_hash(Path(config.users))
    inputs |= {"chat": recipe.chat} if recipe.chat else {}
    stage = f"dpo/{name}/{OFFLINE}" if config.on_policy else f"dpo/{name}"
    return run.stage(stage, {**inputs, "seed": recipe.seed, "device": on}, work)


def train_dpo(run: RunFolder, base: Path, rows: Path, folder: Path, args: HostArgs) -> None:
    """Run the host's DPO trainer from `base`, which is the reference too, on a file of rows; into <folder>/model.

    Raises `HostError` if the rows are too few for the host to learn anything, and if the job fails.
    """
    host = load_host()
    with rows.open("rb") as lines:
        host.check_dpo(sum(1 for _ in lines), args)
    job = host.dpo_job(base, rows, folder, args, device_of(run.recipe))
    host.run(job, folder / "dpo.log", console=run.console)
    # A host that exits with 0 may still have saved nothing.
    if not (folder / MODEL / "config.json").is_file():
        raise HostError(f"the host ended well but saved no model in {folder / MODEL}; log: {folder / 'dpo.log'}")
    (folder / "moved.json").write_text(json.dumps({"share": moved(base, folder / MODEL)}) + "\n")
