"""Verbs over recipes: run, build, leakage, prepare, eval, report."""

import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.table import Column, Table

from persona_rm.cli.app import Only, Overrides, RecipePath, app, console, recipe_of, told
from persona_rm.errors import RecipeError


@app.command()
def run(recipe: RecipePath, overrides: Overrides = None, only: Only = None) -> None:
    """Run all stages of a recipe: build, DPO, evaluation, PPO and the report.

    Stages that are done are skipped, so a run that was killed goes on where it stopped.

    Example: `persona-rm run quickstart seed=1 out=runs/first`
    """
    with told():
        from persona_rm.pipeline.job import check_only, run_recipe

        plan = recipe_of(recipe, overrides)
        check_only(plan, only or ())
        run_recipe(plan, console, only=only or ())


@app.command()
def build(
    recipe: RecipePath,
    overrides: Overrides = None,
    sample: Annotated[
        str, typer.Option(help="Build from a share of the threads, such as `1%`, drawn by their ids.")
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would run, on how many rows and at what cost, and stop.")
    ] = False,
    resume: Annotated[
        bool, typer.Option(help="Skip what an earlier build of the same recipe finished. --no-resume starts over.")
    ] = True,
) -> None:
    """Build an AlignX-style data set from the recipe's threads, on Ray Data.

    The folder `out=FOLDER` (default: runs/NAME) gets Parquet files under data/, the data card (README.md, card.json)
    and figures/. `datasets.load_dataset(FOLDER)` reads it. The exit code is 0 for a clean build, 3 if it was built but
    input was quarantined or rows failed (the card says which), and 1 if it was not built.

    Example: `persona-rm build construct_reddit source.path=threads.jsonl --sample 1%`
    """
    with told():
        from persona_rm.construct import job as construction
        from persona_rm.pipeline.run import RunFolder
        from persona_rm.pipeline.stages.train import build_job, planned, print_result

        plan = recipe_of(recipe, [*(overrides or ()), *([f"build.sample={_share(sample)}"] if sample else ())])
        job = build_job(plan, resume=resume, command=_again(recipe, overrides, sample))
        if dry_run:
            console.print(planned(job))
            return
        result = construction.build(job)
        print_result(RunFolder(plan, plan.build_folder, console), result)
    raise typer.Exit(0 if result.clean else 3)


def _share(text: str) -> float:
    """The share that "1%" or "0.01" means. Raises `RecipeError` for a text that is no share."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise RecipeError(f"--sample is a share of the threads, such as 1% or 0.01; found {text!r}") from error
    if not 0 < share <= 1:
        raise RecipeError(f"--sample must be more than 0 and at most 100%; found {text!r}")
    return share


def _again(recipe: Path, overrides: list[str] | None, sample: str) -> str:
    """The command line, for the data card. Of a path it keeps the last name only: cards are published, and the folders
    of a machine are private."""
    parts = [override.partition("=") for override in overrides or ()]
    given = [key + sign + (value if value.startswith(("[", "{")) else Path(value).name) for key, sign, value in parts]
    return shlex.join(["persona-rm", "build", recipe.name, *given, *(["--sample", sample] if sample else ())])


@app.command()
def leakage(
    train: Annotated[Path, typer.Argument(help="The examples for training: a file or a folder in the AlignX format.")],
    test: Annotated[Path, typer.Argument(help="The examples for testing.")],
    near: Annotated[
        float,
        typer.Option(help="Jaccard similarity (0 to 1) from which two texts are near-duplicates; 0 skips the search."),
    ] = 0.8,
    space: Annotated[str, typer.Option(help="The preference space of the files.")] = "alignx90",
) -> None:
    """Look for posts, users and (nearly) equal texts that the training and test data share.

    The exit code is 1 if anything is shared.

    Example: `persona-rm leakage "runs/reddit/data/train-*.parquet" "runs/reddit/data/test-*.parquet"`
    """
    with told():
        from persona_rm.construct.split.leakage import check
        from persona_rm.io.alignx_format import read_examples
        from persona_rm.space import load_space

        dimensions = load_space(space)
        report = check(read_examples(train, dimensions), read_examples(test, dimensions), near or None)
        rows = report.rows()
        table = Table(*(Column(name, no_wrap=True) for name in rows[0]), box=SIMPLE, pad_edge=False)
        for row in rows:
            table.add_row(*row.values())
        console.print(table)
        console.print(
            f"{'nothing is shared' if report.clean else 'shared, see above'}: "
            f"{report.n_train:,} examples against {report.n_test:,}"
        )
    raise typer.Exit(0 if report.clean else 1)


@app.command()
def prepare(
    recipe: RecipePath,
    overrides: Overrides = None,
    to: Annotated[str, typer.Option("--for", help="The trainer of the host that the rows are for: dpo.")] = "dpo",
    section: Annotated[
        str, typer.Option(help="The section of the recipe's `dpo` to write rows for. The default is the first.")
    ] = "",
    out: Annotated[Path, typer.Option(help="The file for the rows (JSON lines).")] = Path("rows.jsonl"),
) -> None:
    """Write training rows for the host (prompt, chosen, rejected) and print the host's command for them.

    Stages that the rows need, such as the build, run first if they are not done.

    Example: `persona-rm prepare quickstart --section ica --out rows.jsonl`
    """
    with told():
        from persona_rm.hosts import load_host
        from persona_rm.pipeline.members import model_folder
        from persona_rm.pipeline.run import RunFolder
        from persona_rm.pipeline.stages.dpo_rows import write_dpo_rows
        from persona_rm.pipeline.stages.train import device_of, examples_for, mirrored_of, run_build

        plan = recipe_of(recipe, overrides)
        if to != "dpo":
            raise RecipeError(f"rows can be written --for dpo only; found --for {to}")
        if not plan.dpo:
            raise RecipeError(f"recipe {plan.name!r} has no dpo section, so there are no rows to write: add one")
        section = section or next(iter(plan.dpo))
        if section not in plan.dpo:
            raise RecipeError(f"the recipe has no dpo.{section}; its sections: {', '.join(plan.dpo)}")
        config = plan.dpo[section]
        job = RunFolder(plan, plan.folder, console)
        if plan.build:
            run_build(job)
        examples = examples_for(job, config)
        count, cut = write_dpo_rows(plan, config, examples, model_folder(plan.model), out, mirrored_of(job))
        console.print(f"{count} rows in {out}; {cut} longer than data.max_len left out")
        folder, on = plan.folder / "dpo" / section, device_of(plan)
        job_of_host = load_host().dpo_job(model_folder(plan.model), out, folder, config.args, on)
        console.print(job_of_host.line(), highlight=False, soft_wrap=True)


@app.command(name="eval")
def evaluate(
    recipe: RecipePath,
    overrides: Overrides = None,
    json: Annotated[
        Path | None, typer.Option(help="Also write the figures to this file: name, value, low, high, n.")
    ] = None,
) -> None:
    """Evaluate a recipe: alignment accuracy, flipped users, history sizes and controls, with intervals by user.

    Stages that the evaluation needs, such as training, run first if they are not done.

    Example: `persona-rm eval quickstart --json figures.json`
    """
    with told():
        from persona_rm.benchmarks.evaluation import read_figures, write_figures
        from persona_rm.pipeline.job import run_recipe, summary

        plan = recipe_of(recipe, overrides)
        folder = run_recipe(plan, console, only=("build", "infer", "dpo", "eval"))
        if not (folder / "metrics.json").is_file():
            raise RecipeError(f"{recipe} has no eval, inference or real section, so nothing was evaluated")
        summary(folder, console)
        if json:
            write_figures(json, read_figures(folder / "metrics.json"))
            console.print(f"Figures: {json}")


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="The folder of a run, such as runs/quickstart.")]) -> None:
    """Write the report of a run again: one HTML file with pictures and commands inside, which works offline.

    Example: `persona-rm report runs/quickstart`
    """
    with told():
        from persona_rm.pipeline.job import make_report
        from persona_rm.pipeline.run import RunFolder
        from persona_rm.recipe import load_recipe

        make_report(RunFolder(load_recipe(folder / "recipe.yaml"), folder, console))
