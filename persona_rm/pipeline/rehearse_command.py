"""A team's own command, small, on this machine: their bundle gives the rewards, their file the prompts.

Nothing is simulated. The rows are drawn from the team's file so that every group of users, unknown users and bad
labels are among them, a tiny model stands for every model, and the host is the real one. The folder of the rehearsal
gets rows.jsonl, small_model/, the host's log, the reward log and summary.json.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console

from persona_rm.backends.tokens import load_tokenizer
from persona_rm.bundle import Bundle, load_bundle
from persona_rm.errors import HostError, RecipeError
from persona_rm.hosts import load_host
from persona_rm.hosts.base import PpoOptions
from persona_rm.hosts.command_records import DataColumns, OwnCommand, SmallJob
from persona_rm.hosts.common.env import device
from persona_rm.io.json_rows import JsonRow
from persona_rm.pipeline.command_summary import (
    policy_texts,
    preference_summary,
    prompt_views,
    reward_summary,
    seen_in_log,
    write_summary,
)
from persona_rm.pipeline.label_check import LabelReport, label_column, label_report
from persona_rm.pipeline.small_bundle import small_bundle
from persona_rm.users.own_prompts import PROMPT_COLUMNS, column_of, read_table, require_column

ROWS: Mapping[str, int] = {"ppo": 16, "dpo": 32}
"""Number of rows of a rehearsal: two steps of eight prompts, or four batches of eight pairs."""
OBEYED = {"PERSONA_RM_LABELS": "labels", "PERSONA_RM_ON_FAILURE": "on_failure"}
"""The variables of a command that a rehearsal takes over, and their names in `PpoOptions`; it sets the others."""


@dataclass(frozen=True, slots=True)
class CheckedCommand:
    """A command whose columns and labels fit the file and the bundle."""

    command: OwnCommand
    columns: DataColumns
    bundle: Bundle | None
    """None for a DPO command without a bundle."""
    labels: LabelReport | None
    """The labels of the whole file; None for DPO, which has none."""
    rows: Sequence[JsonRow]
    """The rows of the rehearsal."""
    notes: Sequence[str]
    """Whose users and which rows these are."""
    changes: Sequence[str]


@dataclass(frozen=True, slots=True)
class CommandPlan:
    """What will run, and every change with its reason."""

    checked: CheckedCommand
    bundle: Bundle | None
    """The bundle that this machine can score."""
    job: SmallJob
    model: Path
    folder: Path
    changes: Sequence[str]


def check_command(words: Sequence[str], bundle: Path | None, prompts: Path | None) -> CheckedCommand:
    """Read the command, the bundle and the rows, and check that they fit. Nothing is written.

    Raises `HostError` for a command that is none of the host's, `DataError` if columns or labels do not fit, and
    `RecipeError` without a bundle for PPO, or without a file of rows.
    """
    host = load_host()
    command = host.read_command(words)
    columns = host.data_columns(command)
    if bundle is None and columns.label_flag:
        raise RecipeError("a PPO command is rehearsed with the rewards of a bundle: name it with --bundle FOLDER")
    loaded = load_bundle(bundle) if bundle is not None else None
    file = _data_file(columns, prompts)
    rows = read_table(file)
    notes = [f"users: {len(loaded.users):,} of the bundle {bundle}, none are simulated"] if loaded else []
    changes = _started_by(command)
    added = _text_columns(columns, rows, changes)
    labels = None
    if loaded is not None and columns.label_flag:
        label, change = label_column(rows, columns, loaded)
        added[columns.label_flag] = label
        changes += change
        labels = label_report(rows, label, loaded)
        notes.append(f"labels: column {label!r} of {file}: {labels.line()}")
    limit = ROWS[command.trainer]
    places = labels.spread(limit) if labels else range(min(len(rows), limit))
    chosen = [rows[place] for place in places]
    notes.append(f"rows: {len(chosen)} of {len(rows):,} in {file}")
    command = replace(command, args={**command.args, **added})
    host.check_forms(command, rows)
    return CheckedCommand(command, columns, loaded, labels, chosen, notes, changes)


def plan_command(checked: CheckedCommand, folder: Path) -> CommandPlan:
    """Write the rows and the small model into `folder`, and make the command small."""
    host, folder, command = load_host(), folder.resolve(), checked.command
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "rows.jsonl"
    text = "".join(json.dumps(dict(row.data), ensure_ascii=False) + "\n" for row in checked.rows)
    data.write_text(text, encoding="utf-8")
    changes = list(checked.changes)
    model = host.small_model(folder / "small_model", _own_tokenizer(host.model_of(command), changes))
    loaded, longest = checked.bundle, 0
    if loaded is not None:
        loaded, of_bundle = small_bundle(loaded, folder / "bundle", model, device())
        changes += of_bundle
    if loaded is not None and checked.labels is not None:
        tokenizer, column = load_tokenizer(model), checked.labels.column
        texts = [policy_texts(host, command.args, loaded, row.data, column, tokenizer) for row in checked.rows]
        longest = max(len(tokenizer(text)["input_ids"]) for both in texts for text in both)
    job = host.small_job(command, data, folder, model, longest)
    return CommandPlan(checked, loaded, job, model, folder, [*changes, *job.changes])


def run_command(plan: CommandPlan, console: Console) -> dict[str, Any]:
    """Run what was planned and return the summary. Raises `HostError` if the job fails, silently or not."""
    if plan.checked.labels is not None and plan.bundle is not None:
        summary = _run_ppo(plan, plan.bundle, plan.checked.labels)
    else:
        summary = _run_dpo(plan, console)
    summary["model"] = str(plan.folder / "model")
    write_summary(summary, plan.folder)
    return summary


def _run_ppo(plan: CommandPlan, bundle: Bundle, labels: LabelReport) -> dict[str, Any]:
    host, rows = load_host(), plan.checked.rows
    variables = plan.checked.command.variables
    given: dict[str, Any] = {OBEYED[name]: value for name, value in variables.items() if name in OBEYED}
    done = host.run_ppo(plan.job.args, bundle.folder, plan.folder, PpoOptions(plugin=plan.job.plugin, **given))
    summary = reward_summary(done, labels)
    first = rows[label_report(rows, labels.column, bundle).kinds.index("known")]
    agent, tokenizer = plan.job.plugin == "agent", load_tokenizer(plan.model)
    shared = (labels.column, agent, tokenizer)
    summary["prompt"] = prompt_views(host, plan.job.args, bundle, first.data, *shared)
    summary["host_log"] = seen_in_log(host, plan.job.args, bundle, rows, *shared, done.log)
    return summary


def _run_dpo(plan: CommandPlan, console: Console) -> dict[str, Any]:
    log = plan.folder / "dpo.log"
    host, rows = load_host(), plan.checked.rows
    seconds = host.run(host.small_dpo_job(plan.job.args), log, console=console)
    if not any((plan.folder / "model").glob("*.safetensors")):
        raise HostError(f"the host ended well but saved no model in {plan.folder / 'model'}; log: {log}")
    summary: dict[str, Any] = {"rows": len(rows), "seconds": round(seconds), "log": str(log)}
    if plan.bundle is not None:
        summary |= preference_summary(plan.bundle, rows, plan.checked.columns.texts)
    return summary


def _data_file(columns: DataColumns, prompts: Path | None) -> Path:
    """The file of rows: `--prompts`, or the command's own if it is on this machine."""
    if prompts is not None:
        return prompts
    if columns.file is not None and Path(columns.file).exists():
        return Path(columns.file)
    named = f"the command names {columns.file!r}, which is no file here" if columns.file else "the command names none"
    raise RecipeError(f"which rows? {named}: give the file with --prompts FILE")


def _text_columns(columns: DataColumns, rows: Sequence[JsonRow], changes: list[str]) -> dict[str, str]:
    """Flags for columns that the command leaves to the host's default, which the file lacks.

    Raises `DataError` if a column is missing that the command names, or that cannot be guessed.
    """
    added: dict[str, str] = {}
    for name, column in columns.texts.items():
        flag, default = columns.flags[name], columns.flags[name] in columns.unnamed
        guess = column_of(rows, PROMPT_COLUMNS) if default and name == "prompt" else None
        if column in rows[0].data or guess is None:
            require_column(rows, column, f"{'the host default' if default else 'named by the command'} for --{flag}")
            continue
        added[flag] = guess
        why = "the column of your file; add this flag to the command"
        changes.append(f"{flag}: {column} (the host's default) -> {guess}: {why}")
    return added


def _started_by(command: OwnCommand) -> list[str]:
    """What is left out of the words before the trainer, and which variables are not taken over."""
    changes = []
    start = " ".join(word for word in command.before if "=" not in word and not word.startswith(("{", "-")))
    if command.before:
        changes.append(f"started by: {start} -> this machine's Python: the rehearsal starts the trainer itself")
    if ignored := sorted(command.variables.keys() - OBEYED.keys()):
        changes.append(f"variables: {', '.join(ignored)} -> left out: the rehearsal sets its own")
    return changes


def _own_tokenizer(given: str | None, changes: list[str]) -> Path | None:
    """The folder of the command's model if its tokenizer is on this machine."""
    if given is None:
        return None
    folder = Path(given)
    if (folder / "tokenizer_config.json").is_file():
        changes.append(f"tokenizer and chat template: those of {folder}")
        return folder.resolve()
    why = f"{given} is no folder here, so token counts are not the real ones"
    changes.append(f"tokenizer: one token per byte: {why}")
    return None
