"""The command line: `persona-rm VERB`. Each verb is a few lines over a function that Python can call too."""

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Column, Table

from persona_rm import __version__
from persona_rm.errors import PersonaRMError, RecipeError

app = typer.Typer(
    name="persona-rm",
    help="User-level rewards for OpenRLHF: each user gets their own reward, in the RLHF stack you already run.\n\n"
    "Start with `persona-rm run recipes/quickstart.yaml`: it shows the whole product on an embedded world.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
console = Console(stderr=False)
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # models load in a second, amid bars that mean something
RecipePath = Annotated[Path, typer.Argument(help="A recipe (YAML). Packaged ones: `persona-rm recipes`.")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Overrides: `seed=1 source=reddit source.path=FILE dpo.pba.args.adam.lr=1e-4`."),
]
Only = Annotated[
    list[str] | None, typer.Option(help="Run only this stage: pretrain, build, dpo, eval, ppo or report. Repeatable.")
]


@contextmanager
def _told() -> Iterator[None]:
    """Our own errors are one red message and exit code 1; anything else is a bug and keeps its traceback."""
    try:
        yield
    except PersonaRMError as error:
        Console(stderr=True).print(f"[bold red]{type(error).__name__}[/]: {error}", markup=True, highlight=False)
        raise typer.Exit(1) from error


def _recipe(path: Path, overrides: list[str] | None):  # type: ignore[no-untyped-def]
    from persona_rm.recipe import load_recipe

    return load_recipe(_find(path), overrides or ())


def _find(path: Path) -> Path:
    """The recipe as given, or the packaged one of that name."""
    if path.exists():
        return path
    named = {p.stem: p for p in _recipes()}
    return named.get(path.stem, path)


def _recipes() -> list[Path]:
    here = Path(__file__).resolve().parent
    roots = (here.parent / "recipes", here / "_recipes")
    root = next((r for r in roots if r.is_dir()), None)
    return sorted(p for p in root.rglob("*.yaml")) if root else []


@app.command()
def run(recipe: RecipePath, overrides: Overrides = None, only: Only = None) -> None:
    """Run a recipe: build, DPO, evaluation, PPO, report. Stages that are done are skipped; a killed run goes on."""
    with _told():
        from persona_rm.pipeline.job import run_recipe

        run_recipe(_recipe(recipe, overrides), console, only=only or ())


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
    with _told():
        from persona_rm.construct import job as construction
        from persona_rm.pipeline.stages import Run
        from persona_rm.pipeline.train import build_job, planned, print_result

        plan = _recipe(recipe, [*(overrides or ()), *([f"build.sample={_share(sample)}"] if sample else ())])
        job = build_job(plan, resume=resume, command=_again(recipe, overrides, sample))
        if dry_run:
            console.print(planned(job))
            return
        result = construction.build(job)
        print_result(Run(plan, plan.build_folder, console), result)
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
    with _told():
        from persona_rm.construct.leakage import check
        from persona_rm.files import read_examples
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
    with _told():
        from persona_rm.host import command_line, dpo_command, environment
        from persona_rm.pipeline.members import model_folder
        from persona_rm.pipeline.rows import write_dpo_rows
        from persona_rm.pipeline.stages import Run
        from persona_rm.pipeline.train import device_of, dpo_args, examples_of, mirrored_of, run_build

        plan = _recipe(recipe, overrides)
        if to != "dpo" or not plan.dpo:
            raise RecipeError(f"rows are written --for dpo from a recipe with a dpo section; found --for {to}")
        section = section or next(iter(plan.dpo))
        if section not in plan.dpo:
            raise RecipeError(f"the recipe has no dpo.{section}; its sections: {', '.join(plan.dpo)}")
        config = plan.dpo[section]
        job = Run(plan, plan.folder, console)
        if plan.build:
            run_build(job)
        count, cut = write_dpo_rows(plan, config, examples_of(job), model_folder(plan.model), out, mirrored_of(job))
        console.print(f"{count} rows in {out}; {cut} longer than data.max_len left out")
        args = dpo_args(config, model_folder(plan.model), out, plan.folder / "dpo" / section)
        print_command = command_line(dpo_command(args), environment(device_of(plan), job="dpo"))
        console.print(print_command, markup=False, highlight=False, soft_wrap=True)


@app.command(name="eval")
def evaluate(
    recipe: RecipePath,
    overrides: Overrides = None,
    json: Annotated[Path | None, typer.Option(help="Also write the figures here: name, value, low, high, n.")] = None,
) -> None:
    """Alignment accuracy, flip, history sizes and controls, with intervals by user. Trains what is missing first."""
    with _told():
        from persona_rm.benchmarks.run import read_figures, write_figures
        from persona_rm.pipeline.job import run_recipe, summary

        plan = _recipe(recipe, overrides)
        folder = run_recipe(plan, console, only=("build", "infer", "dpo", "eval"))
        if not (folder / "metrics.json").is_file():
            raise RecipeError(f"{recipe} has neither eval nor inference, so nothing was evaluated")
        summary(folder, console)
        if json:
            write_figures(json, read_figures(folder / "metrics.json"))
            console.print(f"Figures: {json}")


@app.command()
def infer(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Infer people's preference directions from their evidence: probabilities, what is said, and the items behind it.

    Learns first, from the people of the training side, how often evidence errs (`infer.inferrer`, default: posterior).
    `infer.users=FILE` names whose directions (JSON lines as in a bundle's users.jsonl); `infer.store=sqlite:FILE` or
    `redis://HOST` where their states go. In the run's folder under infer/: directions.jsonl, model/, profiles.arrow.
    """
    with _told():
        from persona_rm.pipeline.job import run_recipe
        from persona_rm.recipe import InferConfig

        plan = _recipe(recipe, overrides)
        plan = plan if plan.infer else plan.model_copy(update={"infer": InferConfig()})
        run_recipe(plan, console, only=("build", "infer"))


@app.command()
def report(folder: Annotated[Path, typer.Argument(help="A run folder, e.g. runs/embedded.")]) -> None:
    """Write report.html of a run again: one file, pictures and commands inside, works offline."""
    with _told():
        from persona_rm.pipeline.job import make_report
        from persona_rm.pipeline.stages import Run
        from persona_rm.recipe import load_recipe

        make_report(Run(load_recipe(folder / "recipe.yaml"), folder, console))


@app.command()
def rehearse(
    recipe: RecipePath,
    overrides: Overrides = None,
    show: Annotated[bool, typer.Option("--show", help="Only say what would change.")] = False,
) -> None:
    """Run any recipe small on this machine, CPU included, through the real host; says what it changed and why."""
    with _told():
        from persona_rm.host import require_host
        from persona_rm.pipeline.job import run_recipe
        from persona_rm.pipeline.rehearse import rehearsal_of

        require_host()
        small, changes = rehearsal_of(_recipe(recipe, overrides))
        for line in changes:
            console.print(f"- {line}", highlight=False, markup=False)
        if not show:
            run_recipe(small, console)
            console.print(f"The rehearsal of {recipe} ran to its end, in {small.out}.", markup=False)


@app.command()
def where(
    host: Annotated[str, typer.Argument(help="The host: openrlhf.")] = "openrlhf",
    agent: Annotated[bool, typer.Option("--agent", help="The agent file, for --train.agent_func_path.")] = False,
    rehearsal: Annotated[bool, typer.Option("--rehearsal", help="The folder of CPU patches, for PYTHONPATH.")] = False,
) -> None:
    """Print the path of the plugin file: `--reward.remote_url "$(persona-rm where openrlhf)"`."""
    with _told():
        from persona_rm.host import where as find

        part = "agent" if agent else "rehearsal" if rehearsal else "reward"
        sys.stdout.write(f"{find(host, part)}\n")  # type: ignore[arg-type]


@app.command()
def space(
    name: Annotated[str, typer.Argument(help="A packaged space or a YAML file.")] = "alignx90",
    parse: Annotated[str | None, typer.Option(help="Read this text of labels into a direction vector.")] = None,
) -> None:
    """List the dimensions of a preference space with their poles; positive is the first pole, not the nicer one."""
    with _told():
        from persona_rm.space import load_space
        from persona_rm.space import table as rows_of

        found = load_space(name)
        if parse is not None:
            directions = found.parse(parse)
            console.print({found.ids[i]: d for i, d in enumerate(directions) if d})
            return
        rows = rows_of(found)
        table = Table(*rows[0].keys(), title=f"{found.name}: {len(found)} dimensions")
        for row in rows:
            table.add_row(*row.values())
        console.print(table)


@app.command(name="fit-annotator")
def fit_annotator(
    statements: Annotated[
        Path, typer.Argument(help="Statements that people of a trait would make: JSON lines, gzip.")
    ],
    threads: Annotated[Path, typer.Argument(help="Real threads, for what unrelated text scores: JSON lines, gzip.")],
    out: Annotated[Path, typer.Argument(help="Where the thresholds go (YAML).")],
    comments: Annotated[int, typer.Option(help="So many comments, spread evenly over the threads.")] = 3000,
) -> None:
    """Fit the encoder annotator's thresholds on half of the statements, and print how they do on the other half."""
    with _told():
        from dataclasses import asdict

        from persona_rm.annotators.fit import fit_thresholds, read_comments, read_statements, write_thresholds
        from persona_rm.backends.encoder import MiniLM, MiniLMConfig
        from persona_rm.space import load_space

        encoder = MiniLM(MiniLMConfig())
        found, checks = fit_thresholds(
            read_statements(statements), read_comments(threads, comments), load_space(), encoder
        )
        about = f"made by `persona-rm fit-annotator` from {statements.name} (the half that fits) and {threads.name}"
        write_thresholds(found, out, about)
        table = Table(*asdict(checks[0]))
        for check in checks:
            table.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in asdict(check).values()))
        console.print(table)


@app.command()
def recipes() -> None:
    """List the packaged recipes with what each does."""
    table = Table("recipe", "what it does")
    for path in _recipes():
        head = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        table.add_row(str(path), head)
    console.print(table)


@app.command()
def zoo() -> None:
    """List every zoo member: sources, universal-value sets, annotators, inferrers, methods, benchmarks."""
    from persona_rm.recipe import ZOOS

    table = Table("zoo", "members")
    for name, registry in ZOOS.items():
        table.add_row(name, ", ".join(registry.names()))
    console.print(table)


@app.command()
def version() -> None:
    """Print the version."""
    sys.stdout.write(f"{__version__}\n")


if __name__ == "__main__":
    app()
