"""OpenRLHF 0.11.2 as a `Host`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from persona_rm.hosts.base import (
    DEFAULT_OPTIONS,
    DpoRow,
    Host,
    HostJob,
    LabelledPrompt,
    PpoJob,
    PpoOptions,
    Preference,
    PromptData,
)
from persona_rm.hosts.command_records import CommandFault, DataColumns, OwnCommand, SmallJob
from persona_rm.hosts.common.env import Device
from persona_rm.hosts.common.finder import PluginPart, where
from persona_rm.hosts.openrlhf import commands, datasets, host_flags, own_command, preferences, queries
from persona_rm.hosts.openrlhf.filtering import check_policy
from persona_rm.hosts.openrlhf.rehearsal import rehearse
from persona_rm.hosts.openrlhf.silent_failures import run_trainer
from persona_rm.io.json_rows import JsonRow
from persona_rm.prompts import ChatTemplate, prompt_in_row
from persona_rm.serving.failures import OnFailure
from persona_rm.types import Pair, Prompt

if TYPE_CHECKING:
    from persona_rm.serving.http.application import HostRoute


class OpenRLHF(Host):
    """Trains by the commands `openrlhf.cli.train_dpo` and `openrlhf.cli.train_ppo_ray`."""

    name = "openrlhf"
    package = "openrlhf"
    versions = commands.SUPPORTED

    def require(self) -> str:
        """The installed version."""
        return commands.require_host()

    def reward_entry(self, part: PluginPart = "reward") -> dict[str, str]:
        """`--reward.remote_url FILE` takes reward_func.py, `--train.agent_func_path FILE` takes agent_func.py; for
        "rehearsal" it is the variable PYTHONPATH."""
        key = {"reward": "reward.remote_url", "agent": "train.agent_func_path", "rehearsal": "PYTHONPATH"}[part]
        return {key: str(where(self.name, part))}

    def check(self, args: Mapping[str, Any], on_failure: OnFailure = "stop") -> None:
        """`skip_group` needs dynamic filtering."""
        check_policy(on_failure, args)

    def labels(self, prompts: Iterable[LabelledPrompt]) -> Iterator[dict[str, Any]]:
        """Rows with the columns `prompt` and `label`."""
        return datasets.prompt_rows(prompts)

    def dpo_rows(
        self, rows: Sequence[DpoRow], args: Mapping[str, Any], model: Path
    ) -> tuple[list[DpoRow], list[DpoRow]]:
        """Rows of at most `data.max_len` tokens, and the longer ones."""
        return datasets.fitting_rows(rows, args, model)

    def check_dpo(self, rows: int, args: Mapping[str, Any]) -> None:
        """At least two steps: the first one has a learning rate of 0."""
        datasets.check_dpo(rows, args)

    def read_preference(self, row: JsonRow) -> Preference:
        """Texts, chat messages beside a prompt, or two whole conversations."""
        return preferences.read_preference(row)

    def read_prompt(self, row: JsonRow) -> Prompt:
        """The column `prompt`: a text or chat messages."""
        return prompt_in_row(row, preferences.PROMPT)

    def preference_row(
        self, given: Mapping[str, Any], pair: Pair | None, margin: float, *, turned: bool = False
    ) -> DpoRow:
        """The columns `prompt`, `chosen`, `rejected` and `margin`."""
        return preferences.preference_row(given, pair, margin, turned=turned)

    def preference_flags(self, rows: Path) -> dict[str, Any]:
        """`data.dataset` and the three keys."""
        return datasets.preference_flags(rows)

    def dpo_job(
        self, model: Path, rows: Path, folder: Path, args: Mapping[str, Any], on: Device | None = None
    ) -> HostJob:
        """One process of the DPO trainer."""
        argv = commands.dpo_command(datasets.dpo_args(model, rows, folder, args))
        return HostJob(argv, commands.environment(on, job="dpo"))

    def run(self, job: HostJob, log: Path, *, console: Console | None = None) -> float:
        """Run a job to its end."""
        return run_trainer(job.argv, job.env, log, console=console)

    def ppo_args(self, model: Path, prompts: Path, folder: Path, args: Mapping[str, Any]) -> dict[str, Any]:
        """The flags of `train_ppo_ray`."""
        return datasets.ppo_args(model, prompts, folder, args)

    def run_ppo(
        self,
        args: Mapping[str, Any],
        bundle: Path,
        run_dir: Path,
        options: PpoOptions = DEFAULT_OPTIONS,
        *,
        on: Device | None = None,
    ) -> PpoJob:
        """A Ray cluster, the reward actors, then the trainer."""
        from persona_rm.hosts.openrlhf.launch import run_ppo  # imports the pool, which a recipe does not need

        return run_ppo(args, bundle, run_dir, options, on=on)

    def routes(self) -> Sequence["HostRoute"]:
        """`POST /get_reward`."""
        from persona_rm.hosts.openrlhf.routes import GET_REWARD  # needs fastapi, which only serving installs

        return (GET_REWARD,)

    def samples_per_step(self, args: Mapping[str, Any]) -> int:
        """`rollout.batch_size` prompts, each with `rollout.n_samples_per_prompt` answers."""
        return datasets.samples_per_step(args)

    def draft_args(self, gpus: int) -> dict[str, Any]:
        """All roles share all GPUs (`train.colocate_all`), and the engines sleep while the others train."""
        return commands.draft_args(gpus)

    def lines(self, bundle: Path, data: PromptData | None = None) -> tuple[str, str]:
        """`persona_rm.serving start`, and `ray job submit` of `train_ppo_ray` with the agent plugin."""
        return commands.own_job_lines(bundle, data)

    def gpus_needed(self, args: Mapping[str, Any]) -> int:
        """The GPUs of engines, actor, reference, critic and reward model."""
        return commands.gpus_needed(args)

    def answer_tokens(self, args: Mapping[str, Any]) -> int | None:
        """`rollout.max_new_tokens`."""
        limit = args.get("rollout.max_new_tokens")
        return int(limit) if limit else None

    def read_command(self, words: Sequence[str]) -> OwnCommand:
        """Of `openrlhf.cli.train_ppo_ray` or `openrlhf.cli.train_dpo`."""
        return own_command.read_command(words)

    def command_faults(self, command: OwnCommand) -> list[CommandFault]:
        """By the parsers of the installed commands, and the file of `train.agent_func_path` or `reward.remote_url`."""
        return [*host_flags.flag_faults(command), *own_command.plugin_faults(command)]

    def applies_template(self, command: OwnCommand) -> bool:
        """`data.apply_chat_template`."""
        return bool(command.args.get(own_command.TEMPLATE))

    def check_forms(self, command: OwnCommand, rows: Sequence[JsonRow]) -> None:
        """Texts or chat messages, by `data.apply_chat_template`."""
        own_command.check_forms(command, rows)

    def plugin_of(self, command: OwnCommand) -> PluginPart:
        """`train.agent_func_path` comes before `reward.remote_url`."""
        return "agent" if own_command.PLUGINS["agent"] in command.args else "reward"

    def data_columns(self, command: OwnCommand) -> DataColumns:
        """`data.input_key` and `data.label_key`; for DPO `data.prompt_key`, `data.chosen_key`, `data.rejected_key`."""
        return own_command.data_columns(command)

    def model_of(self, command: OwnCommand) -> str | None:
        """`actor.model_name_or_path`, for DPO `model.model_name_or_path`."""
        role = "actor" if command.trainer == "ppo" else "model"
        return own_command.text_of(command.args.get(f"{role}.model_name_or_path"))

    def small_model(self, folder: Path, like: Path | None = None) -> Path:
        """By plugins/openrlhf/rehearsal/tiny_model.py, in a process of its own, because it loads torch."""
        return own_command.small_model(folder, like)

    def small_job(
        self, command: OwnCommand, data: Path, folder: Path, model: Path, longest: int = 0, on: Device | None = None
    ) -> SmallJob:
        """By the rules of `rehearsal.RULES`."""
        return own_command.small_job(command, data, folder, model, longest, on)

    def policy_text(self, args: Mapping[str, Any], row: Mapping[str, Any], tokenizer: Any) -> str:
        """By `data.apply_chat_template` or `data.input_template`."""
        return own_command.policy_text(args, row, tokenizer)

    def asked_prompt(self, given: str, labelled: Prompt | None, tokenizer: Any) -> Prompt:
        """As agent_func.py does."""
        bare = queries.bare_prompt(given, ChatTemplate(lambda: tokenizer))
        return queries.in_form_of(labelled or bare, bare)

    def rendered_text(self, rendered: Prompt, asked: Prompt, tokenizer: Any) -> str:
        """As agent_func.py does."""
        return queries.policy_text(rendered, asked, ChatTemplate(lambda: tokenizer))

    def logged_samples(self, log: Path) -> list[str]:
        """One sample of each step."""
        return own_command.logged_samples(log)

    def small_dpo_job(self, args: Mapping[str, Any], on: Device | None = None) -> HostJob:
        """One process of the DPO trainer."""
        return HostJob(commands.dpo_command(args), commands.environment(on, job="dpo"))

    def rehearse(
        self,
        args: Mapping[str, Any],
        *,
        model: Path | None = None,
        out: Path | None = None,
        on: Device | None = None,
    ) -> tuple[dict[str, Any], dict[str, str], list[str]]:
        """By the rules of `rehearsal.RULES`."""
        return rehearse(args, model=model, out=out, on=on)
