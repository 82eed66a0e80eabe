"""The verb check: what is in a users file, and whether a personal reward helps its users."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from persona_rm.cli.app import app, console, told
from persona_rm.cli.check_table import print_check
from persona_rm.cli.users_input import ColumnMap, UsersFile, read_input


@app.command()
def check(
    users: UsersFile,
    columns: ColumnMap = None,
    sample: Annotated[
        int, typer.Option(min=0, help="At most so many users, drawn by their ids, are evaluated; 0 takes all.")
    ] = 1000,
    out: Annotated[Path | None, typer.Option(help="A picture of the figures: FILE.svg or FILE.png.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Print every row: new users, other methods, and what was left out.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON in place of the table.")] = False,
) -> None:
    """Say what is in a users file, what is wrong with it, and whether a personal reward helps these users.

    Whole prompts are held out. The same users are scored under them, and new users with 2, 4 and 8 comparisons. The
    personal method is `centroid`; it is compared with the pooled reward of the same features, with the states of other
    users, and with the rule that the longer response wins. `pba_linear` has a row if its annotator reads these texts.
    The verdict stands first and last: it helps if the gain over the pooled reward and the gain over another user's
    state are both above 0, with 95 % confidence. The table has the rows that decide; --all prints every row.

    Example: `persona-rm check users.jsonl --out check.svg`
    """
    with told():
        from persona_rm.backends.base import Backends
        from persona_rm.backends.minilm import MiniLM
        from persona_rm.bundle.engine_counters import counters_of, cut_remark
        from persona_rm.io.progress_bar import progress_bar
        from persona_rm.report.check_picture import check_format, check_picture
        from persona_rm.users.candidates import check_users

        if out is not None:
            check_format(out)
        data = read_input(users, columns, quiet=as_json)
        with progress_bar(console, "check", 100) as update:
            encoder = MiniLM()
            result = check_users(
                data.users, sample=sample or None, backends=Backends(encoder=encoder),
                progress=lambda done, of: update(100 * done // of), annotate=True if every else None,
            )  # fmt: skip
        cut = cut_remark(counters_of(encoder))
        if as_json:
            about = {"file": data.summary(), "findings": [asdict(finding) for finding in data.findings], "cut": cut}
            typer.echo(json.dumps({**about, **result.to_dict()}, ensure_ascii=False, indent=1))
        else:
            if cut:
                console.print(f"note: {cut}.", highlight=False)
            print_check(result, every=every)
        if out is not None:
            check_picture(result, out)
        if out is not None and not as_json:
            console.print(f"The picture is {out}")
