"""The contract of a host: what the pipeline and the command line ask of a trainer.

A host is used unmodified. Its implementation translates: flags, data sets and commands in one direction, logs and
failures in the other. `HOSTS` names the implementations.
"""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from rich.console import Console

from persona_rm.hosts.command_records import CommandFault, DataColumns, OwnCommand, SmallJob
from persona_rm.hosts.common.env import Device
from persona_rm.hosts.common.finder import PluginPart
from persona_rm.hosts.common.process import command_line
from persona_rm.io.json_rows import JsonRow
from persona_rm.serving.failures import SKIPPED, OnFailure
from persona_rm.types import Pair, Prompt

if TYPE_CHECKING:
    from persona_rm.serving.http.application import HostRoute

Args = Mapping[str, Any]
"""Flags as the host writes them, dotted and without dashes: {train.batch_size: 32}."""
DpoRow = dict[str, Any]
"""`prompt`, `chosen` and `rejected`, as texts or in another layout of the host, and any other columns."""


class LabelledPrompt(NamedTuple):
    """One prompt that the policy will answer."""

    prompt: str
    """What the host gives to the policy."""
    user: str
    """Whose reward the answer gets."""
    post: Prompt
    """The prompt without the user's profile in front of it: what the reward is computed for."""


class PromptData(NamedTuple):
    """A team's own file of prompts, for a command."""

    file: Path
    prompt_column: str
    user_column: str


class Preference(NamedTuple):
    """A row of preference data as the host reads it. A prompt of several turns keeps them."""

    prompt: Prompt
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class HostJob:
    """A command of the host and the whole environment that it runs in."""

    argv: Sequence[str]
    env: Mapping[str, str]

    def line(self) -> str:
        """The command, ready to be pasted into a shell."""
        return command_line(self.argv, self.env)


@dataclass(frozen=True, slots=True)
class PpoJob:
    """A finished PPO job. `rewards` are the logs of the reward actors: one JSON line per scored sample."""

    seconds: float
    log: Path
    tensorboard: Path
    rewards: tuple[Path, ...]

    def samples(self) -> list[dict[str, Any]]:
        """Every scored sample, ordered by time. One whose actor died after it wrote its log, before it answered, was
        scored again and is here once."""
        rows = sorted((row for path in self.rewards for row in _rows(path)), key=lambda row: float(row["time"]))
        return list({row.get("request_id", place): row for place, row in enumerate(rows)}.values())

    def skipped(self) -> list[dict[str, Any]]:
        """Every sample that got no reward and was left out with its group, ordered by time: user and reason."""
        path = self.log.parent / SKIPPED
        return _rows(path) if path.is_file() else []


@dataclass(frozen=True, slots=True)
class PpoOptions:
    """How the rewards of a PPO job are given."""

    plugin: Literal["reward", "agent"] = "reward"
    """Which plugin file the host loads."""
    n_actors: int = 1
    max_actors: int | None = None
    """A busy pool of reward actors may grow to this size. None: it keeps `n_actors`."""
    reward_gpus: float = 0
    """GPUs of each reward actor."""
    labels: Literal["prior", "strict"] = "prior"
    """What happens to a sample without a known user: the population prior gives the reward, or the job stops."""
    deadline: float = 300
    """Seconds in which a reward must be available, all retries included."""
    on_failure: OnFailure = "stop"
    """What happens if no reward is available after all retries."""


DEFAULT_OPTIONS = PpoOptions()


class Host(ABC):
    """One trainer."""

    name: ClassVar[str]
    """Its name in `HOSTS`, and the name of its folder under `plugins/`."""
    package: ClassVar[str]
    """Its distribution on the Python package index."""
    versions: ClassVar[tuple[str, ...]]
    """The releases whose code was read and run."""

    @abstractmethod
    def require(self) -> str:
        """The installed version. Raises `HostError` if none or an unsupported one is installed."""

    @abstractmethod
    def reward_entry(self, part: PluginPart = "reward") -> dict[str, str]:
        """The flag, and its value, by which the host loads our plugin."""

    @abstractmethod
    def check(self, args: Args, on_failure: OnFailure = "stop") -> None:
        """Raises `HostError` if the host cannot do under these flags what the reward failure policy asks for."""

    @abstractmethod
    def labels(self, prompts: Iterable[LabelledPrompt]) -> Iterator[dict[str, Any]]:
        """Rows of the host's prompt data, each with the label that names its user."""

    @abstractmethod
    def dpo_rows(self, rows: Sequence[DpoRow], args: Args, model: Path) -> tuple[list[DpoRow], list[DpoRow]]:
        """The rows that the host trains on whole, and those that it would cut or drop without a message.

        `model` is the folder of the starting policy, whose tokenizer decides. Raises `DataError` if no row fits.
        """

    @abstractmethod
    def check_dpo(self, rows: int, args: Args) -> None:
        """Raises `HostError` if a DPO job on so many rows ends without having changed the policy."""

    @abstractmethod
    def read_preference(self, row: JsonRow) -> Preference:
        """The prompt and the responses of a row of preference data, as the host's trainers read its columns.

        Raises `DataError` naming file, row and key if the trainers could not read it.
        """

    @abstractmethod
    def read_prompt(self, row: JsonRow) -> Prompt:
        """The prompt in a row of prompt data: a text, or the turns of a conversation. Raises `DataError`."""

    @abstractmethod
    def preference_row(
        self, given: Mapping[str, Any], pair: Pair | None, margin: float, *, turned: bool = False
    ) -> DpoRow:
        """A row of preference data with its margin where the host reads it.

        `given` is a row of the host's layout, whose other columns stay. `pair` replaces its texts; None: they stay as
        they are, or, if `turned`, with the responses exchanged.
        """

    @abstractmethod
    def preference_flags(self, rows: Path) -> dict[str, Any]:
        """The flags of a DPO job that name a file of `preference_row` and its columns."""

    @abstractmethod
    def dpo_job(self, model: Path, rows: Path, folder: Path, args: Args, on: Device | None = None) -> HostJob:
        """The DPO job that trains `model` on a file of rows and writes the policy to `<folder>/model`."""

    @abstractmethod
    def run(self, job: HostJob, log: Path, *, console: Console | None = None) -> float:
        """Run a job to its end; returns the seconds it took. Raises `HostError` if it fails, silently or not."""

    @abstractmethod
    def ppo_args(self, model: Path, prompts: Path, folder: Path, args: Args) -> dict[str, Any]:
        """The flags of a PPO job that trains `model` on a file of `labels` rows and writes to `<folder>/model`; `args`
        are added last."""

    @abstractmethod
    def run_ppo(
        self,
        args: Args,
        bundle: Path,
        run_dir: Path,
        options: PpoOptions = DEFAULT_OPTIONS,
        *,
        on: Device | None = None,
    ) -> PpoJob:
        """Run PPO with the rewards of this bundle. Raises `HostError` if the job fails, silently or not."""

    @abstractmethod
    def samples_per_step(self, args: Args) -> int:
        """How many answers one training step generates."""

    @abstractmethod
    def draft_args(self, gpus: int) -> dict[str, Any]:
        """Flags of a PPO job on so many GPUs (0: a machine without one), as a recipe that is begun writes them."""

    @abstractmethod
    def lines(self, bundle: Path, data: PromptData | None = None) -> tuple[str, str]:
        """The command that starts the reward actors of a bundle, and the command of a job that asks them, in which
        "..." stands for the job's own flags."""

    @abstractmethod
    def gpus_needed(self, args: Args) -> int:
        """How many GPUs a PPO job with these flags reserves, besides those of the reward actors."""

    @abstractmethod
    def answer_tokens(self, args: Args) -> int | None:
        """The upper bound on the tokens of an answer; None if the flags set none."""

    @abstractmethod
    def rehearse(
        self, args: Args, *, model: Path | None = None, out: Path | None = None, on: Device | None = None
    ) -> tuple[dict[str, Any], dict[str, str], list[str]]:
        """The flags of any job, made small enough for this machine; the environment; what changed and why."""

    @abstractmethod
    def read_command(self, words: Sequence[str]) -> OwnCommand:
        """A team's own command, word by word. Raises `HostError` if it starts no trainer of this host."""

    @abstractmethod
    def command_faults(self, command: OwnCommand) -> list[CommandFault]:
        """Flags that the installed trainer does not know, values that it refuses, and a reward that cannot be asked.

        Raises `HostError` if the host is not installed here, so that nothing tells its flags.
        """

    @abstractmethod
    def applies_template(self, command: OwnCommand) -> bool:
        """Whether the command tells the host to render prompts by the chat template of the model's tokenizer."""

    @abstractmethod
    def check_forms(self, command: OwnCommand, rows: Sequence[JsonRow]) -> None:
        """Raises `DataError` for a row whose text columns have a form that the command's trainer cannot read."""

    @abstractmethod
    def plugin_of(self, command: OwnCommand) -> PluginPart:
        """Which plugin file the command loads: "agent", or "reward"."""

    @abstractmethod
    def data_columns(self, command: OwnCommand) -> DataColumns:
        """The file and the columns that the command reads."""

    @abstractmethod
    def model_of(self, command: OwnCommand) -> str | None:
        """The starting model that the command names."""

    @abstractmethod
    def small_model(self, folder: Path, like: Path | None = None) -> Path:
        """Write a tiny model with random weights for a rehearsal; `like` is a model folder whose tokenizer it gets."""

    @abstractmethod
    def small_job(
        self, command: OwnCommand, data: Path, folder: Path, model: Path, longest: int = 0, on: Device | None = None
    ) -> SmallJob:
        """The command made small: on the rows of `data`, with `model` in place of all models, writing to `folder`.
        `longest` is the number of tokens of the longest prompt."""

    @abstractmethod
    def policy_text(self, args: Args, row: Mapping[str, Any], tokenizer: Any) -> str:
        """The prompt of a data row as the host hands it to the plugin, chat template included."""

    @abstractmethod
    def asked_prompt(self, given: str, labelled: Prompt | None, tokenizer: Any) -> Prompt:
        """The bare prompt that a plugin asks the reward for: that of the label, else `given` without its template."""

    @abstractmethod
    def rendered_text(self, rendered: Prompt, asked: Prompt, tokenizer: Any) -> str:
        """The text of a prompt with the user in it, as a plugin hands it to the policy."""

    @abstractmethod
    def logged_samples(self, log: Path) -> list[str]:
        """Prompts with their answers as the host's own log shows them, without special tokens."""

    @abstractmethod
    def small_dpo_job(self, args: Args, on: Device | None = None) -> HostJob:
        """The DPO job with exactly these flags."""

    def routes(self) -> Sequence["HostRoute"]:
        """The HTTP routes that take this host's payload. By default there are none."""
        return ()


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
