"""A team's own command for the host: its flags, the columns it reads, and the chat form of its prompts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from persona_rm.backends.tokens import load_tokenizer
from persona_rm.bundle import Bundle
from persona_rm.doctor.chat_match import CONFIG_FILE, template_of
from persona_rm.doctor.finding import DoctorFinding
from persona_rm.doctor.subject import DoctorSubject
from persona_rm.errors import HostError
from persona_rm.hosts.command_records import DataColumns
from persona_rm.io.json_rows import JsonRow
from persona_rm.pipeline.command_summary import prompt_views
from persona_rm.pipeline.label_check import label_column
from persona_rm.prompts import ChatTemplate
from persona_rm.users.own_prompts import PROMPT_COLUMNS, column_of, require_column

FLAGS, COLUMNS, CHAT = "command", "columns", "chat template"


def check_command(subject: DoctorSubject) -> list[DoctorFinding]:
    """Does the installed host know every flag of the command, and is the reward that it names there?"""
    command = subject.command
    if command is None:
        return []
    try:
        faults = subject.host.command_faults(command)
    except HostError as error:
        todo = f"Run doctor where the job runs, or: pip install {subject.host.package}=={subject.host.versions[-1]}"
        return [DoctorFinding("note", FLAGS, str(error), todo)]
    found = [DoctorFinding("error" if one.fatal else "note", FLAGS, one.what, one.todo) for one in faults]
    model = subject.host.model_of(command)
    if model is None:
        found.append(DoctorFinding("error", FLAGS, "the command names no model", "Name the model to train"))
    elif Path(model).is_absolute() and not Path(model).is_dir():
        todo = "Correct the path; on another machine than the job's this may be right"
        found.append(DoctorFinding("warning", FLAGS, f"there is no folder {model} for the model", todo))
    if not any(one.severity == "error" for one in found):
        version = f"{subject.host.package} {subject.host.versions[-1]}"
        found.append(DoctorFinding("ok", FLAGS, f"{len(command.args)} flags, all known to {version}"))
    return found


def check_columns(subject: DoctorSubject) -> list[DoctorFinding]:
    """Are the columns that the command reads in the data, and does one of them name the users of the bundle?"""
    columns = subject.columns
    if columns is None:
        return []
    if subject.data is None:
        what = f"the command reads {columns.file or 'no file'}, which is not here, so no row was looked at"
        return [DoctorFinding("note", COLUMNS, what, "Give the file by --data")]
    rows = subject.data_rows
    findings = [_text_column(rows, name, columns) for name in columns.texts]
    if subject.command is not None:
        subject.host.check_forms(subject.command, rows)
    if columns.label_flag and subject.bundle is not None:
        column, missing = label_column(rows, columns, subject.bundle)
        if missing:
            what = f"the command has no --{columns.label_flag}, so every answer would get the population prior; the "
            what += f"users of the bundle are in the column {column!r}"
            findings.append(DoctorFinding("error", COLUMNS, what, f"Add --{columns.label_flag} {column}"))
    if all(one.severity == "ok" for one in findings):
        texts = [*columns.texts.values(), *([columns.label] if columns.label else [])]
        return [DoctorFinding("ok", COLUMNS, f"{', '.join(texts)} of {subject.data}, {len(rows):,} rows")]
    return [one for one in findings if one.severity != "ok"]


def _text_column(rows: Sequence[JsonRow], name: str, columns: DataColumns) -> DoctorFinding:
    """Raises `DataError` if a column is missing that the command names, or whose name cannot be guessed."""
    column, flag = columns.texts[name], columns.flags[name]
    if column in rows[0].data:
        return DoctorFinding("ok", COLUMNS, column)
    guess = column_of(rows, PROMPT_COLUMNS) if flag in columns.unnamed and name == "prompt" else None
    if guess is None:
        require_column(rows, column, f"{'the default' if flag in columns.unnamed else 'named'} by --{flag}")
    what = f"the command has no --{flag}, the host reads {column!r}, and the file has {', '.join(rows[0].data)}"
    return DoctorFinding("error", COLUMNS, what, f"Add --{flag} {guess}")


def check_command_chat(subject: DoctorSubject) -> list[DoctorFinding]:
    """Do policy and reward read the prompt in the same chat form? One row is rendered by the code of the plugins."""
    command = subject.command
    model = subject.host.model_of(command) if command else None
    if command is None or model is None:
        return []
    folder = Path(model)
    if not (folder / CONFIG_FILE).is_file():
        what = f"{model} is no folder with a tokenizer here, so its chat template was not compared"
        return [DoctorFinding("note", CHAT, what, "Run doctor where the model is")]
    if subject.host.applies_template(command) and not template_of(folder):
        what = f"the command has the host apply a chat template, and the tokenizer of {model} has none"
        return [DoctorFinding("error", CHAT, what, "Leave the flag out, or name a model whose tokenizer has one")]
    findings = _same_tokenizer(subject, folder)
    if subject.bundle is not None and subject.data is not None and subject.columns and subject.columns.label_flag:
        findings += _forms(subject, subject.bundle, load_tokenizer(folder))
    return findings


def _same_tokenizer(subject: DoctorSubject, model: Path) -> list[DoctorFinding]:
    """The template of the command's model against that of the tokenizer that the bundle names."""
    bundle = subject.bundle
    named = bundle.file.tokenizer or bundle.file.policy if bundle else None
    if bundle is None or named is None:
        return []
    own = bundle.path(named)
    if own.resolve() == model.resolve() or not (own / CONFIG_FILE).is_file() or template_of(own) == template_of(model):
        return []
    what = f"the bundle's tokenizer ({own}) has another chat template than the command's model ({model})"
    todo = "Name the command's model under `tokenizer` in bundle.yaml, unless the reward's model is meant to differ"
    return [DoctorFinding("warning", CHAT, what, todo)]


def _forms(subject: DoctorSubject, bundle: Bundle, tokenizer: Any) -> list[DoctorFinding]:
    """The first row as policy and reward read it: in turns of the chat template, or as plain text."""
    assert subject.command is not None
    assert subject.columns is not None
    agent = subject.host.plugin_of(subject.command) == "agent"
    args = {**subject.command.args, subject.columns.flags["prompt"]: subject.prompt}
    row = subject.data_rows[0].data
    try:
        views = prompt_views(subject.host, args, bundle, row, subject.label, agent, tokenizer)
    except HostError as error:
        return [DoctorFinding("error", CHAT, str(error), "Write the bundle anew with the chat form of the job")]
    chat = ChatTemplate(lambda: tokenizer)
    if not chat.present:
        return [DoctorFinding("ok", CHAT, "the tokenizer has none, and prompts reach the policy as plain text")]
    turns = {name: not isinstance(chat.unwrap(text), str) for name, text in views.items() if name != "user"}
    if not turns["policy"]:
        what = "the model's tokenizer has a chat template, and prompts reach the policy as plain text"
        todo = "Add --data.apply_chat_template, unless the model is a base model"
        return [DoctorFinding("warning", CHAT, what, todo)]
    if not turns.get("reward_model", True):
        what = "the policy reads prompts in its chat template, and the model behind the reward reads plain text"
        todo = "Write the bundle with chat: template, unless its policy is a base model"
        return [DoctorFinding("warning", CHAT, what, todo)]
    return [DoctorFinding("ok", CHAT, "policy and reward read the prompt in the turns of the chat template")]
