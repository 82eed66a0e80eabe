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
from persona_rm.hosts.common.env import device
from persona_rm.hosts.own_command import DataColumns, OwnCommand, SmallJob
from persona_rm.io.json_rows import JsonRow
from persona_rm.pipeline.command_summary import policy_texts, prompt_views, reward_summary, write_summary
from persona_rm.pipeline.label_check import LabelReport, check_labels, label_column
from persona_rm.pipeline.small_bundle import small_bundle
from persona_rm.users.own_prompts import PROMPT_COLUMNS, column_of, need_column, read_table

ROWS: Mapping[str, int] = {"ppo": 16, "dpo": 32}
"""Number of rows of a rehearsal: two steps of eight prompts, or four batches of eight pairs."""
OBEYED = {"PERSONA_RM_LABELS": "labels", "PERSONA_RM_ON_FAILURE": "on_failure"}
"""The variables of a command that a rehearsal takes over, and their names in `PpoOptions`; it sets the others."""


@dataclass(frozen=True, slots=True)
class CommandPlan:
    """What will run: the command, the rows, and every change with its reason."""

    command: OwnCommand
    bundle: Bundle
    labels: LabelReport | None
    rows: Sequence[JsonRow]
    """The rows of the rehearsal."""
    job: SmallJob
    model: Path
    folder: Path
    notes: Sequence[str]
    """Whose users and which rows these are."""
    changes: Sequence[str]


def plan_command(words: Sequence[str], bundle: Path, prompts: Path | None, folder: Path) -> CommandPlan:
    """Read the command, the bundle and the rows, check that they fit, and write the rows and the small model.

    Raises `HostError` for a command that is none of the host's, `DataError` if columns or labels do not fit.
    """
    host, folder = load_host(), folder.resolve()
    command, loaded = host.read_command(words), load_bundle(bundle)
    columns = host.data_columns(command)
    file = _data_file(columns, prompts)
    rows = read_table(file)
    notes = [f"users: {len(loaded.users):,} of the bundle {bundle}, none are simulated"]
    changes = _started_by(command)
    added = _text_columns(columns, rows, changes)
    labels = None
    if columns.label_flag:
        label, change = label_column(rows, columns, loaded)
        added[columns.label_flag] = label
        changes += change
        labels = check_labels(rows, label, loaded)
        notes.append(f"labels: column {label!r} of {file}: {labels.line()}")
    command = replace(command, args={**command.args, **added})
    places = labels.spread(ROWS["ppo"]) if labels else range(min(len(rows), ROWS[command.trainer]))
    chosen = [rows[place] for place in places]
    notes.append(f"rows: {len(chosen)} of {len(rows):,} in {file}")
    folder.mkdir(parents=True, exist_ok=True)
    data = folder / "rows.jsonl"
    text = "".join(json.dumps(dict(row.data), ensure_ascii=False) + "\n" for row in chosen)
    data.write_text(text, encoding="utf-8")
    model = host.small_model(folder / "small_model", _own_tokenizer(host.model_of(command), changes))
    loaded, of_bundle = small_bundle(loaded, folder / "bundle", model, device())
    longest = 0
    if labels:
        tokenizer = load_tokenizer(model)
        texts = [policy_texts(host, command.args, loaded, row.data, labels.column, tokenizer) for row in chosen]
        longest = max(len(tokenizer(text)["input_ids"]) for both in texts for text in both)
    job = host.small_job(command, data, folder, model, longest)
    return CommandPlan(
        command, loaded, labels, chosen, job, model, folder, notes, [*changes, *of_bundle, *job.changes]
    )


def run_command(plan: CommandPlan, console: Console) -> dict[str, Any]:
    """Run what was planned and return the summary. Raises `HostError` if the job fails, silently or not."""
    host = load_host()
    if plan.labels is None:
        log = plan.folder / "dpo.log"
        seconds = host.run(host.small_dpo_job(plan.job.args), log, console=console)
        if not any((plan.folder / "model").glob("*.safetensors")):
            raise HostError(f"the host ended well but saved no model in {plan.folder / 'model'}; log: {log}")
        summary = {"rows": len(plan.rows), "seconds": round(seconds), "log": str(log)}
    else:
        done = host.run_ppo(plan.job.args, plan.bundle.folder, plan.folder, _options(plan))
        summary = reward_summary(done, plan.labels)
        report = check_labels(plan.rows, plan.labels.column, plan.bundle)
        first = report.kinds.index("known")
        summary["prompt"] = prompt_views(
            host, plan.job.args, plan.bundle, plan.rows[first].data, plan.labels.column, plan.job.plugin == "agent",
            load_tokenizer(plan.model),
        )  # fmt: skip
    summary["model"] = str(plan.folder / "model")
    write_summary(summary, plan.folder)
    return summary


def _options(plan: CommandPlan) -> PpoOptions:
    variables = plan.command.variables
    given: dict[str, Any] = {OBEYED[name]: value for name, value in variables.items() if name in OBEYED}
    return PpoOptions(plugin=plan.job.plugin, **given)


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
    for flag, column in columns.texts.items():
        guess = column_of(rows, PROMPT_COLUMNS) if flag in columns.unnamed and columns.label_flag else None
        if column in rows[0].data or guess is None:
            default = "the host's default" if flag in columns.unnamed else "named by the command"
            need_column(rows, column, f"{default} for --{flag}")
            continue
        added[flag] = guess
        changes.append(
            f"{flag}: {column} (the host's default) -> {guess}: the column of your file; add it to the command"
        )
    return added


def _started_by(command: OwnCommand) -> list[str]:
    """What is left out of the words before the trainer, and which variables are not taken over."""
    changes = []
    start = " ".join(word for word in command.before if "=" not in word and not word.startswith(("{", "-")))
    if command.before:
        changes.append(f"started by: {start} -> this machine's Python: the rehearsal starts the trainer itself")
    if ignored := sorted(command.variables.keys() - set(OBEYED)):
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
    changes.append(
        f"tokenizer: one token per byte, because {given} is no folder here: token counts are not the real ones"
    )
    return None
