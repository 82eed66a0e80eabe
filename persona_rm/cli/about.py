"""Verbs that list what is there (where, space, recipes, zoo, version), and fit-annotator."""

import json
import sys
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from persona_rm import __version__
from persona_rm.cli.app import app, console, told
from persona_rm.cli.complete import complete_host
from persona_rm.cli.listing import ZooMember, listing, zoo_member
from persona_rm.cli.packaged import recipe_files
from persona_rm.errors import UnknownName

ZOO_TITLES = {
    "source": "source: reads a raw data set into threads",
    "universal": "universal: pairs that were chosen for values that all users share, mixed in at construction",
    "annotator": "annotator: reads how strongly a text shows each dimension",
    "inferrer": "inferrer: turns a user's evidence into preference directions",
    "feature": "feature: turns a response into the numbers that a method reads",
    "method": "method: rewards a response for a user",
    "benchmark": "benchmark: measures a method, with intervals by user",
}


@app.command()
def where(
    host: Annotated[
        str, typer.Argument(help="The host that the plugin is for: openrlhf.", autocompletion=complete_host)
    ] = "openrlhf",
    agent: Annotated[bool, typer.Option("--agent", help="Print the agent file, for --train.agent_func_path.")] = False,
    rehearsal: Annotated[
        bool, typer.Option("--rehearsal", help="Print the folder of CPU patches, for PYTHONPATH.")
    ] = False,
) -> None:
    """Print the path of a host's plugin file.

    Example: `--reward.remote_url "$(persona-rm where openrlhf)"`
    """
    with told():
        from persona_rm.hosts.common import where as find

        part = "agent" if agent else "rehearsal" if rehearsal else "reward"
        sys.stdout.write(f"{find(host, part)}\n")  # type: ignore[arg-type]


@app.command()
def space(
    name: Annotated[str, typer.Argument(help="The name of a packaged space, or a YAML file.")] = "alignx90",
    parse: Annotated[str | None, typer.Option(help="Print the direction vector of this text of labels.")] = None,
) -> None:
    """List the dimensions of a preference space with their poles.

    The positive pole is the first one of the annotation question, not the nicer one.

    Example: `persona-rm space alignx90 --parse "Older, Likes humor"`
    """
    with told():
        from persona_rm.space import load_space
        from persona_rm.space import table as rows_of

        dimensions = load_space(name)
        if parse is not None:
            directions = dimensions.parse(parse)
            console.print(
                {id_: direction for id_, direction in zip(dimensions.ids, directions, strict=True) if direction}
            )
            return
        rows = rows_of(dimensions)
        table = Table(*rows[0].keys(), title=f"{dimensions.name}: {len(dimensions)} dimensions")
        for row in rows:
            table.add_row(*row.values())
        console.print(table)


@app.command(name="fit-annotator")
def fit_annotator(
    statements: Annotated[
        Path, typer.Argument(help="Statements that people with a trait would make (JSON lines, gzip).")
    ],
    threads: Annotated[
        Path, typer.Argument(help="Real threads, for the scores of unrelated text (JSON lines, gzip).")
    ],
    out: Annotated[Path, typer.Argument(help="The file for the thresholds (YAML).")],
    comments: Annotated[
        int, typer.Option(help="The number of comments to read, spread evenly over the threads.")
    ] = 3000,
) -> None:
    """Fit the encoder annotator's thresholds on half of the statements and print figures for the other half.

    Example: `persona-rm fit-annotator statements.jsonl.gz threads.jsonl.gz thresholds.yaml`
    """
    with told():
        from dataclasses import asdict

        from persona_rm.annotators.fit import fit_thresholds, read_comments, read_statements, write_thresholds
        from persona_rm.backends.minilm import MiniLM, MiniLMConfig
        from persona_rm.space import load_space

        encoder = MiniLM(MiniLMConfig())
        thresholds, checks = fit_thresholds(
            read_statements(statements), read_comments(threads, comments), load_space(), encoder
        )
        about = f"made by `persona-rm fit-annotator` from {statements.name} (the half that fits) and {threads.name}"
        write_thresholds(thresholds, out, about)
        table = Table(*asdict(checks[0]))
        for check in checks:
            table.add_row(*(f"{v:.3f}" if isinstance(v, float) else str(v) for v in asdict(check).values()))
        console.print(table)


@app.command()
def recipes() -> None:
    """List the packaged recipes: what each does, on which hardware and in what time.

    A name from this list can be given to every verb that takes a recipe. Example: `persona-rm run quickstart`
    """
    rows = [(path.stem, _about_recipe(path)) for path in recipe_files()]
    _print_lines(listing(rows, console.width))
    if rows:
        console.print(f"\nThe files are in {recipe_files()[0].parent}", highlight=False)


def _about_recipe(path: Path) -> list[str]:
    """The comment at the top of a recipe: what it does, and the line about hardware and time."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = [line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines)]
    hardware = next((number for number, line in enumerate(comment) if line.startswith("Hardware:")), len(comment))
    about = " ".join(takewhile(bool, comment[:hardware]))
    return [about, *comment[hardware : hardware + 1]]


@app.command()
def zoo(
    name: Annotated[
        str | None,
        typer.Argument(
            help="Only this zoo: source, universal, annotator, inferrer, feature, method or benchmark.",
            autocompletion=lambda: list(ZOO_TITLES),
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with the settings of each member as recipes write them.")
    ] = False,
) -> None:
    """List the members of every zoo, with a sentence each, what a method needs and which controls apply to it.

    Recipes and bundles name members: `method: {name: pba, beta: 0.1}`. A member of your own stands in a file:
    `name: ./my_method.py:MyMethod`. Example: `persona-rm zoo method`
    """
    with told():
        from persona_rm.recipe_sections import ZOOS

        if name is not None and name not in ZOOS:
            raise UnknownName(f"there is no zoo {name!r}; the zoos are: {', '.join(ZOOS)}")
        chosen = {key: registry for key, registry in ZOOS.items() if name in (None, key)}
        members = [zoo_member(key, registry, one) for key, registry in chosen.items() for one in registry.names()]
        if as_json:
            sys.stdout.write(json.dumps([asdict(member) for member in members], ensure_ascii=False, indent=1) + "\n")
            return
        for key in chosen:
            rows = [(member.name, _about_member(member)) for member in members if member.zoo == key]
            console.print(ZOO_TITLES.get(key, key), style="bold", highlight=False)
            _print_lines([*listing(rows, console.width), ""])


def _about_member(member: ZooMember) -> list[str]:
    if member.problem:
        return [f"It cannot be imported: {member.problem}"]
    lists = (("Needs", member.needs), ("Controls", member.controls))
    return [member.sentence, " ".join(f"{what}: {', '.join(names)}." for what, names in lists if names)]


def _print_lines(lines: list[str]) -> None:
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True)


@app.command()
def version() -> None:
    """Print the version.

    Example: `persona-rm version`, which is the same as `persona-rm --version`
    """
    sys.stdout.write(f"{__version__}\n")
