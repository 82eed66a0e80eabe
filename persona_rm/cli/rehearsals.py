"""The verb rehearse: a recipe, or a team's own command, small, on this machine."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from persona_rm.cli.app import app, console, recipe_of, told


@app.command()
def rehearse(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="RECIPE [OVERRIDES]... | -- COMMAND...",
            help="A recipe and its overrides; or, after `--`, the command that starts your own job.",
        ),
    ],
    bundle: Annotated[
        Path | None, typer.Option(help="The bundle whose users and rewards your command gets. Needs a COMMAND.")
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="Your prompts with the user of each row, or for a DPO command your comparisons: JSON lines, CSV, "
            "Parquet or a `datasets` folder. The columns are those that the command names. The default is the "
            "command's own file."
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="The folder of the rehearsal of a COMMAND.")] = Path("runs/rehearsal"),
    show: Annotated[bool, typer.Option("--show", help="Print what would change and stop.")] = False,
) -> None:
    """Run a small version of your own job, or of any recipe, on this machine, CPU included, through the real host.

    It prints what it changed and why. Your own OpenRLHF command, as your launch script has it, keeps its columns, its
    chat template and its plugin; it gets a tiny model, 16 of your prompts, and the rewards of your bundle. At its end
    it prints the mean reward of each group of users, how many answers were of known users, where the logs are, and
    one prompt as the policy and as the reward read it.

    Example: `persona-rm rehearse --bundle my_bundle --prompts prompts.jsonl -- python -m openrlhf.cli.train_ppo_ray
    --actor.model_name_or_path MODEL --data.input_key prompt --data.label_key user`

    Example: `persona-rm rehearse llama8b_8gpu source=simulator --show`
    """
    with told():
        if bundle is None and prompts is None and not any("train_" in word for word in words):
            _rehearse_recipe(Path(words[0]), words[1:], show)
            return
        from persona_rm.hosts import load_host
        from persona_rm.pipeline.command_summary import print_summary
        from persona_rm.pipeline.rehearse_command import check_command, plan_command, run_command

        checked = check_command(words, bundle, prompts)
        for line in checked.notes:
            console.print(line, highlight=False, markup=False)
        load_host().require()
        plan = plan_command(checked, out)
        _print_changes(plan.changes)
        if not show:
            print_summary(run_command(plan, console), console)
            console.print(f"The rehearsal ran to its end, in {out}.")


def _rehearse_recipe(recipe: Path, overrides: list[str], show: bool) -> None:
    from persona_rm.hosts import load_host
    from persona_rm.pipeline.job import run_recipe
    from persona_rm.pipeline.rehearse import rehearsal_of

    load_host().require()
    small, changes = rehearsal_of(recipe_of(recipe, overrides))
    _print_changes(changes)
    if not show:
        run_recipe(small, console)
        console.print(f"The rehearsal of {recipe} ran to its end, in {small.out}.")


def _print_changes(changes: Sequence[str]) -> None:
    for line in changes:
        console.print(f"- {line}", highlight=False, markup=False)
