"""The records of a team's own command: what it says, which columns it reads, and what a rehearsal makes of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

TrainerKind = Literal["ppo", "dpo"]


@dataclass(frozen=True, slots=True)
class OwnCommand:
    """A command that starts a trainer of the host, read word by word."""

    trainer: TrainerKind
    args: Mapping[str, Any]
    """Its flags, dotted and without dashes. A switch is True, several values are a list, every other value a text."""
    variables: Mapping[str, str]
    """The environment variables that the command sets for the job."""
    before: Sequence[str]
    """The words in front of the trainer, such as those of `ray job submit`. A rehearsal does not need them."""


@dataclass(frozen=True, slots=True)
class DataColumns:
    """Which file and which of its columns a command reads."""

    file: str | None
    """The data set that the command names: a path, or the name of a set on a hub."""
    texts: Mapping[str, str]
    """prompt, for DPO also chosen and rejected -> the column that holds it."""
    flags: Mapping[str, str]
    """The same names -> the flag that names the column."""
    unnamed: frozenset[str]
    """Those flags whose column is the host's default, because the command does not give them."""
    label_flag: str = ""
    """The flag that names the column with the user of a row; "" if the trainer hands on no such column."""
    label: str | None = None
    """The column that it names; None if the command does not give it."""


@dataclass(frozen=True, slots=True)
class SmallJob:
    """A command made small: the flags for this machine, which plugin they load, and what changed and why."""

    args: Mapping[str, Any]
    plugin: Literal["reward", "agent"]
    changes: Sequence[str]


@dataclass(frozen=True, slots=True)
class CommandFault:
    """What is wrong with one flag of a command, and what to do."""

    flag: str
    """Its name, without dashes."""
    what: str
    todo: str
    fatal: bool = True
    """False for what is worth knowing and stops no job."""
