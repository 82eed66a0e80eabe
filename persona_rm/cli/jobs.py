"""Verbs over recipes: run, build, leakage, prepare, eval, report, rehearse."""

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
    """Run a recipe: build, DPO, evaluation, PPO, report. Stages that are done are skipped; a killed run goes on."""
    with told():
        from persona_rm.pipeline.job import run_recipe

        run_recipe(recipe_of(recipe, overrides), console, only=only or ())


@app.command()
def build(
    recipe: RecipePath,
    overrides: Overrides = None,
    sample: Annotated[str, typer.Option(help="Only so many of the threads, e.g. `1%`, drawn by their ids.")] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would run, on how many rows, at what cost.")
    ] = False,
    resume: Annotated[
        bool, typer.Option(help="Go on where a killed build stopped and skip what is done; --no-resume starts over.")
    ] = True,
) -> None:
    """Build an AlignX-style data set from the recipe's threads, on Ray Data.

    In the folder `out=FOLDER` (default: runs/NAME): Parquet under data/, README.md and card.json (the data card) and
    figures/. `datasets.load_dataset(FOLDER)` reads it. Exit code 0: clean; 3: built, but input was quarantined or rows
    failed, as the card says; 1: not built.
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
    """ "1%" or "0.01"."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError as error:
        raise RecipeError(f"--sample is a share of the threads, such as 1% or 0.01; found {text!r}") from error
    if not 0 < share <= 1:
        raise RecipeError(f"--sample must be more than 0 and at most 100%; found {text!r}")
    return share


def _again(recipe: Path, overrides: list[str] | None, sample: str) -> str:
    """The command line, for the card: of a path only the last name, as folders of a machine are nobody's business."""
    parts = [override.partition("=") for override in overrides or ()]
    given = [key + sign + (value if value.startswith(("[", "{")) else Path(value).name) for key, sign, value in parts]
    return shlex.join(["persona-rm", "build", recipe.name, *given, *(["--sample", sample] if sample else ())])


@app.command()
def leakage(
    train: Annotated[Path, typer.Argument(help="Examples to train on: a file or a folder in the AlignX format.")],
    test: Annotated[Path, typer.Argument(help="Examples to test on.")],
    near: Annotated[
        float, typer.Option(help="Texts this alike (Jaccard, 0 to 1) are near-duplicates; 0: not looked for.")
    ] = 0.8,
    space: Annotated[str, typer.Option(help="Space of the files.")] = "alignx90",
) -> None:
    """Look for posts, people and (nearly) equal texts that train and test share. Exit code 1 where there are any."""
    with told():
        from persona_rm.construct.split.leakage import check
        from persona_rm.io.alignx_format import read_examples
        from persona_rm.space import load_space

        found = load_space(space)
        report = check(read_examples(train, found), read_examples(test, found), near or None)
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
    to: Annotated[str, typer.Option("--for", help="The host's trainer that the rows are for: dpo.")] = "dpo",
    section: Annotated[str, typer.Option(help="Which section of the recipe's `dpo`; default the first.")] = "",
    out: Annotated[Path, typer.Option(help="Where the JSON lines go.")] = Path("rows.jsonl"),
) -> None:
    """Write training rows for the host (prompt, chosen, rejected), and print the host's command for them. Builds what
    is missing first."""
    with told():
        from persona_rm.hosts import load_host
        from persona_rm.pipeline.members import model_folder
        from persona_rm.pipeline.run import RunFolder
        from persona_rm.pipeline.stages.dpo_rows import write_dpo_rows
        from persona_rm.pipeline.stages.train import device_of, examples_of, mirrored_of, run_build

        plan = recipe_of(recipe, overrides)
        if to != "dpo" or not plan.dpo:
            raise RecipeError(f"rows are written --for dpo from a recipe with a dpo section; found --for {to}")
        section = section or next(iter(plan.dpo))
        if section not in plan.dpo:
            raise RecipeError(f"the recipe has no dpo.{section}; its sections: {', '.join(plan.dpo)}")
        config = plan.dpo[section]
        job = RunFolder(plan, plan.folder, console)
        if plan.build:
            run_build(job)
        count, cut = write_dpo_rows(plan, config, examples_of(job), model_folder(plan.model), out, mirrored_of(job))
        console.print(f"{count} rows in {out}; {cut} longer than data.max_len left out")
        folder, on = plan.folder / "dpo" / section, device_of(plan)
        job_of_host = load_host().dpo_job(model_folder(plan.model), out, folder, config.args, on)
        console.print(job_of_host.line(), highlight=False, soft_wrap=True)


@app.command(name="eval")
def evaluate(
    recipe: RecipePath,
    overrides: Overrides = None,
    json: Annotated[Path | None, typer.Option(help="Also write the figures here: name, value, low, high, n.")] = None,
) -> None:
    """Alignment accuracy, flip, history sizes and controls, with intervals by user. Trains what is missing first."""
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
def report(folder: Annotated[Path, typer.Argument(help="A run folder, e.g. runs/embedded.")]) -> None:
    """Write report.html of a run again: one file, pictures and commands inside, works offline."""
    with told():
        from persona_rm.pipeline.job import make_report
        from persona_rm.pipeline.run import RunFolder
        from persona_rm.recipe import load_recipe

        make_report(RunFolder(load_recipe(folder / "recipe.yaml"), folder, console))


@app.command()
def rehearse(
    recipe: RecipePath,
    overrides: Overrides = None,
    show: Annotated[bool, typer.Option("--show", help="Only say what would change.")] = False,
) -> None:
    """Run any recipe small on this machine, CPU included, through the real host; says what it changed and why."""
    with told():
        from persona_rm.hosts import load_host
        from persona_rm.pipeline.job import run_recipe
        from persona_rm.pipeline.rehearse import rehearsal_of

        load_host().require()
        small, changes = rehearsal_of(recipe_of(recipe, overrides))
        for line in changes:
            console.print(f"- {line}", highlight=False)
        if not show:
            run_recipe(small, console)
            console.print(f"The rehearsal of {recipe} ran to its end, in {small.out}.")
