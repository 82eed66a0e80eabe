"""The verb doctor: is everything in place before a job takes its GPUs?"""

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from persona_rm.cli.app import Overrides, app, console, find_recipe, told
from persona_rm.cli.complete import complete_target

if TYPE_CHECKING:
    from persona_rm.doctor import DoctorFinding, DoctorSubject

STYLES = {"ok": "green", "note": "dim", "warning": "yellow", "error": "bold red"}


@app.command()
def doctor(
    target: Annotated[
        Path | None,
        typer.Argument(
            help="A recipe, or the folder of a bundle. Without it only the environment is examined, or a command.",
            autocompletion=complete_target,
        ),
    ] = None,
    overrides: Overrides = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="The job's prompt data, to check its labels and score its rows: JSON lines, CSV, Parquet or a "
            "`datasets` folder. The default is the file that the command names."
        ),
    ] = None,
    label_key: Annotated[
        str | None,
        typer.Option(help="The column that names the user: the command's, or `user`, `user_id`, `label`."),
    ] = None,
    prompt_key: Annotated[
        str | None, typer.Option(help="The column that holds the prompt: the command's, or `prompt`.")
    ] = None,
    rows: Annotated[int, typer.Option(min=0, help="The number of rows to score; 0 scores none.")] = 100,
    port: Annotated[int, typer.Option(help="The port that `persona-rm serve` would use.")] = 8000,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings make the exit code 1 too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Examine an environment and a recipe, a bundle or your own command before GPUs are taken: each finding says what
    to do.

    Looked at: package versions against those that were tested, variables, ports, placement on the cluster, disk and
    shared memory; and of a bundle: whether it loads, its chat template against the policy's tokenizer, how many labels
    of the data are known users, and a hundred rows scored. Of the command behind `--`: flags that the host does not
    know, the plugin's path, its columns, its chat template, and the GPUs that it asks for. Nothing is changed.

    The exit code is 1 if there is an error, and with --strict if there is a warning; otherwise 0.

    Example: `persona-rm doctor runs/quickstart/ppo/matched/bundle --data prompts.jsonl --label-key user`

    Example: `persona-rm doctor my_bundle --data prompts.csv -- python -m openrlhf.cli.train_ppo_ray
    --actor.model_name_or_path MODEL --data.input_key prompt --data.label_key user`
    """
    with told():
        from persona_rm.doctor import SEVERITIES, examine, worst

        options = {"data": data, "label_key": label_key, "prompt_key": prompt_key, "rows": rows, "port": port}
        findings = []
        for finding in examine(_subject(target, overrides or [], options)):
            findings.append(finding)
            if not as_json:
                _show(finding)
        most = worst(findings)
        if as_json:
            shown = {"worst": most, "findings": [asdict(finding) for finding in findings]}
            sys.stdout.write(json.dumps(shown, ensure_ascii=False, indent=1) + "\n")
        else:
            counts = [sum(one.severity == severity for one in findings) for severity in SEVERITIES]
            console.print(", ".join(f"{n} {severity}" for n, severity in zip(counts, SEVERITIES, strict=True)))
    raise typer.Exit(int(most == "error" or (strict and most == "warning")))


def _subject(target: Path | None, words: list[str], options: Mapping[str, Any]) -> "DoctorSubject":
    """What the arguments name. A command is told by its trainer, because the shell's `--` leaves no trace here."""
    from persona_rm.doctor import subject_of, subject_of_command

    every = [*([str(target)] if target else []), *words]
    if any("train_" in word and "=" not in word for word in every):
        if target is not None and target.is_dir():
            return subject_of_command(target, words, **options)
        return subject_of_command(None, every, **options)
    found = target if target is None or target.is_dir() else find_recipe(target)
    return subject_of(found, words, **options)


def _show(finding: "DoctorFinding") -> None:
    """One line for what was found, and one for what to do."""
    head = (f"{finding.severity:<8}", STYLES[finding.severity])
    console.print(Text.assemble(head, (f"{finding.looked_at}: ", "bold"), finding.what), highlight=False)
    if finding.todo:
        console.print(Text(f"{'':<8}-> {finding.todo}"), highlight=False)
