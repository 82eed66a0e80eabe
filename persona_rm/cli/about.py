"""Verbs that say what there is: where, space, recipes, zoo, version; and fit-annotator."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from persona_rm import __version__
from persona_rm.cli.app import app, console, recipe_files, told


@app.command()
def where(
    host: Annotated[str, typer.Argument(help="The host: openrlhf.")] = "openrlhf",
    agent: Annotated[bool, typer.Option("--agent", help="The agent file, for --train.agent_func_path.")] = False,
    rehearsal: Annotated[bool, typer.Option("--rehearsal", help="The folder of CPU patches, for PYTHONPATH.")] = False,
) -> None:
    """Print the path of the plugin file: `--reward.remote_url "$(persona-rm where openrlhf)"`."""
    with told():
        from persona_rm.hosts.common import where as find

        part = "agent" if agent else "rehearsal" if rehearsal else "reward"
        sys.stdout.write(f"{find(host, part)}\n")  # type: ignore[arg-type]


@app.command()
def space(
    name: Annotated[str, typer.Argument(help="A packaged space or a YAML file.")] = "alignx90",
    parse: Annotated[str | None, typer.Option(help="Read this text of labels into a direction vector.")] = None,
) -> None:
    """List the dimensions of a preference space with their poles; positive is the first pole, not the nicer one."""
    with told():
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
    with told():
        from dataclasses import asdict

        from persona_rm.annotators.fit import fit_thresholds, read_comments, read_statements, write_thresholds
        from persona_rm.backends.minilm import MiniLM, MiniLMConfig
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
    for path in recipe_files():
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
