"""A team's own command for OpenRLHF 0.11.2, as their launch script has it: read, and made small.

    ray job submit --runtime-env-json '{"env_vars": {...}}' -- python -m openrlhf.cli.train_ppo_ray --actor... V ...

The words up to the trainer say how the job is started (`ray job submit`, `deepspeed`, `torchrun`, variables); those
after it are the trainer's flags. Defaults are those of cli/train_ppo_ray.py:566-586 and cli/train_dpo.py:302-316.
"""

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from persona_rm.errors import HostError
from persona_rm.hosts.command_records import CommandFault, DataColumns, OwnCommand, SmallJob, TrainerKind
from persona_rm.hosts.common.env import Device
from persona_rm.hosts.common.finder import where
from persona_rm.hosts.openrlhf.rehearsal import rehearse
from persona_rm.io.json_rows import JsonRow

TRAINERS: Mapping[str, TrainerKind] = {"train_ppo_ray": "ppo", "train_dpo": "dpo"}
_TRAINER = re.compile(r"(?:openrlhf\.cli\.|.*/)?(train_\w+)(?:\.py)?")
_SAMPLE = re.compile(r"ppo_trainer\.py:\d+\] Sample: (\[.*\])")
_VARIABLE = re.compile(r"([A-Za-z_]\w*)=(.*)", re.DOTALL)
RUNTIME = "--runtime-env-json"
"""The option of `ray job submit` that holds the variables of the job."""
DATA_FLAG: Mapping[TrainerKind, str] = {"ppo": "data.prompt_dataset", "dpo": "data.dataset"}
TEXTS: Mapping[TrainerKind, Mapping[str, tuple[str, str | None]]] = {
    "ppo": {"prompt": ("data.input_key", "input")},
    "dpo": {"prompt": ("data.prompt_key", None), "chosen": ("data.chosen_key", "chosen"),
            "rejected": ("data.rejected_key", "rejected")},
}  # fmt: skip
"""The columns with texts: their flags, and the columns that the host reads without them."""
LABEL = "data.label_key"
PLUGINS: Mapping[Literal["reward", "agent"], str] = {"reward": "reward.remote_url", "agent": "train.agent_func_path"}
TEMPLATE = "data.apply_chat_template"
"""The switch by which the host renders prompts."""
OTHER_DATA = ("data.prompt_probs", "data.prompt_split", "data.dataset_probs", "data.dataset_split", "eval.dataset",
              "eval.split", "eval.steps")  # fmt: skip
"""Flags that belong to the team's own data sets; the rehearsal reads one file instead."""


def read_command(words: Sequence[str]) -> OwnCommand:
    """The trainer, its flags and its variables. One quoted text is cut into words as a shell does it.

    Raises `HostError` if no trainer is in the command, or one that takes no rewards of users, or a word is no flag.
    """
    if len(words) == 1 and len(words[0].split()) > 1:
        words = shlex.split(words[0])
    for place, word in enumerate(words):
        match = _TRAINER.fullmatch(word)
        if match and match[1] in TRAINERS:
            before = list(words[:place])
            return OwnCommand(TRAINERS[match[1]], read_flags(words[place + 1 :]), _variables(before), before)
        if match and word.startswith("openrlhf.cli."):
            known = ", ".join(f"openrlhf.cli.{name}" for name in TRAINERS)
            raise HostError(f"{word} takes no rewards of users; a rehearsal runs: {known}")
    shown = " ".join(words[:4]) or "nothing"
    script = any(word.endswith((".sh", ".bash")) for word in words)
    do = "a shell script is not read: give the command that is in it" if script else "give the command whole"
    raise HostError(
        f"the command names no trainer, it begins with: {shown}; {do}, for example "
        "`-- python -m openrlhf.cli.train_ppo_ray --actor.model_name_or_path MODEL ...`"
    )


def read_flags(words: Sequence[str]) -> dict[str, Any]:
    """`--a.b 1 --c --d x y` -> {"a.b": "1", "c": True, "d": ["x", "y"]}; the last of equal flags counts, as for the
    host. Raises `HostError` for a value without a flag."""
    args: dict[str, Any] = {}
    values: dict[str, list[str]] = {}
    key = ""
    for word in words:
        if word.startswith("--") and len(word) > 2:
            key, equals, value = word[2:].partition("=")
            values[key] = [value] if equals else []
        elif not key:
            raise HostError(f"the trainer's first word must be a flag such as --train.batch_size, found {word!r}")
        else:
            values[key].append(word)
    for key, given in values.items():
        args[key] = True if not given else given[0] if len(given) == 1 else given
    return args


def _variables(words: Sequence[str]) -> dict[str, str]:
    """What `NAME=VALUE` in front of the command and `ray job submit --runtime-env-json` set for the job.

    Raises `HostError` if that JSON cannot be read.
    """
    variables = {match[1]: match[2] for word in words if (match := _VARIABLE.fullmatch(word))}
    for place, word in enumerate(words):
        option, equals, text = word.partition("=")
        if option != RUNTIME:
            continue
        text = text if equals else words[place + 1] if place + 1 < len(words) else ""
        try:
            variables |= {str(name): str(value) for name, value in json.loads(text).get("env_vars", {}).items()}
        except (ValueError, AttributeError) as error:
            raise HostError(f"{RUNTIME} of the command is no JSON object with env_vars: {error}") from error
    return variables


def data_columns(command: OwnCommand) -> DataColumns:
    """The file and the columns that the command reads, by its flags and the host's defaults."""
    args, columns = command.args, TEXTS[command.trainer]
    texts, flags = {}, {}
    for name, (flag, default) in columns.items():
        # A DPO command without a prompt column trains on whole conversations in `chosen` and `rejected`.
        if (column := args.get(flag, default)) is not None:
            texts[name], flags[name] = str(column), flag
    file, unnamed = text_of(args.get(DATA_FLAG[command.trainer])), frozenset(flags.values()) - args.keys()
    if command.trainer == "dpo":
        return DataColumns(file, texts, flags, unnamed)
    return DataColumns(file, texts, flags, unnamed, LABEL, text_of(args.get(LABEL)))


def check_forms(command: OwnCommand, rows: Sequence[JsonRow]) -> None:
    """Raises `DataError` for a row whose texts have a form that the trainer cannot read under these flags.

    With `data.apply_chat_template` the DPO trainer takes chat messages only (datasets/reward_dataset.py:18-31), the
    PPO trainer texts too (datasets/prompts_dataset.py:9-15). Without it both take texts only.
    """
    applies = bool(command.args.get(TEMPLATE))
    for column in data_columns(command).texts.values():
        for row in rows:
            messages = isinstance(row.data.get(column), list)
            if messages and not applies:
                problem = f"chat messages, which the host reads only with --{TEMPLATE}"
                raise row.error(f"{problem}: add this flag, or write the column as text", column)
            if applies and not messages and command.trainer == "dpo":
                problem = f"no list of chat messages, which --{TEMPLATE} needs in every text column of a DPO job"
                raise row.error(f"{problem}: leave the flag out, or write messages", column)


def small_model(folder: Path, like: Path | None = None) -> Path:
    """A tiny random model in `folder`. Raises `HostError` if the script fails."""
    script = where("openrlhf", "rehearsal") / "tiny_model.py"
    argv = [sys.executable, str(script), str(folder), *(["--like", str(like)] if like else [])]
    made = subprocess.run(argv, env={**os.environ, "HF_HUB_OFFLINE": "1"}, capture_output=True, text=True, check=False)
    if made.returncode:
        last = (made.stderr.strip().splitlines() or ["no message"])[-1]
        raise HostError(f"the small model could not be written to {folder}: {last}")
    return folder


def small_job(
    command: OwnCommand, data: Path, folder: Path, model: Path, longest: int = 0, on: Device | None = None
) -> SmallJob:
    """The command on a file of few rows, with a small model in place of all models, by the rules of `rehearsal`.

    `longest` is the number of tokens of the longest prompt: the host cuts a prompt that leaves no room for its answer.
    """
    args, changes = dict(command.args), []
    key = DATA_FLAG[command.trainer]
    changes.append(f"{key}: {args.get(key, 'nothing')} -> {data}: rows that were drawn from your own")
    args[key] = str(data)
    why = "the rehearsal reads one file, and evaluates none"
    changes += [f"{name}: {args.pop(name)} -> left out: {why}" for name in OTHER_DATA if name in args]
    plugin: Literal["reward", "agent"] = "reward"
    if command.trainer == "ppo":
        plugin = _plugin(args, changes)
    small, _, rules = rehearse(args, model=model, out=folder, on=on, job=command.trainer)
    if command.trainer == "ppo":
        room = longest + int(small["rollout.max_new_tokens"])
        if room > int(small["data.max_len"]):
            rules.append(
                f"data.max_len: {small['data.max_len']} -> {room}: the longest of your prompts and its answer"
            )
            small["data.max_len"] = room
    return SmallJob(small, plugin, [*changes, *rules])


def _plugin(args: dict[str, Any], changes: list[str]) -> Literal["reward", "agent"]:
    """Which plugin the command loads. The flag of ours is left to the launch; a team's own file stays."""
    plugin: Literal["reward", "agent"] = "agent" if PLUGINS["agent"] in args else "reward"
    key = PLUGINS[plugin]
    given, ours = args.get(key), where("openrlhf", plugin)
    if given is None:
        changes.append(f"{key}: nothing -> {ours}: the command asks no reward of ours; add this flag to it")
    elif Path(str(given)).is_file() and Path(str(given)).resolve() != ours.resolve():
        changes.append(f"{key}: {given} is a file of your own, so it is loaded as it is")
        return plugin
    elif Path(str(given)).resolve() != ours.resolve():
        changes.append(f"{key}: {given} -> {ours}: it is no file of this machine; the rewards come from actors here")
    args.pop(key, None)
    return plugin


def plugin_faults(command: OwnCommand) -> list[CommandFault]:
    """What is wrong with the file or address from which a PPO command takes its rewards."""
    if command.trainer != "ppo":
        return []
    ours = "persona-rm where openrlhf --agent"
    given = {kind: text_of(command.args.get(key)) for kind, key in PLUGINS.items()}
    kind: Literal["reward", "agent"] = "agent" if given["agent"] else "reward"
    named, key = given[kind], PLUGINS[kind]
    if named is None:
        what = f"the command asks no reward: neither --{PLUGINS['agent']} nor --{PLUGINS['reward']}"
        return [CommandFault(key, what, f'Add --{PLUGINS["agent"]} "$({ours})"')]
    faults = []
    for one in named.split(","):
        if one.startswith(("http://", "https://")):
            continue
        if not Path(one).is_file():
            do = f"`{ours}` prints the file of this installation"
            faults.append(CommandFault(key, f"--{key}: there is no file {one} on this machine", do))
        elif Path(one).resolve() != where("openrlhf", kind).resolve():
            what = f"--{key}: {one} is a file of your own, so the bundle gives rewards only if it asks for them"
            faults.append(CommandFault(key, what, f"`{ours}` prints the plugin that does", fatal=False))
    return faults


def policy_text(args: Mapping[str, Any], row: Mapping[str, Any], tokenizer: Any) -> str:
    """The prompt of a row as the host hands it to the plugin (datasets/prompts_dataset.py:23-43)."""
    prompt = row[str(args.get("data.input_key", "input"))]
    if args.get(TEMPLATE):
        messages = [{"role": "user", "content": prompt}] if isinstance(prompt, str) else prompt
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))
    template = args.get("data.input_template")
    # The host drops a template without a field and reads "\\n" as a line break (cli/train_ppo_ray.py).
    if template and "{}" in str(template):
        return str(template).replace("\\n", "\n").format(prompt)
    return str(prompt)


def text_of(value: Any) -> str | None:
    """The value of a flag as text; None if it was not given."""
    return None if value is None else str(value)


def logged_samples(log: Path) -> list[str]:
    """Prompt and answer, without special tokens, of the sample that the host prints in each step
    (trainer/ppo_trainer.py:224)."""
    text = log.read_text(encoding="utf-8", errors="replace")
    samples = []
    for match in _SAMPLE.finditer(text):
        try:
            samples.append(str(ast.literal_eval(match[1])[0]))
        except (ValueError, SyntaxError):  # a reward of nan is no Python literal; such a sample is left out
            continue
    return samples
