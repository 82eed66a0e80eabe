"""What the doctor looks at: a recipe, a bundle, a team's own command, the data of a job, or the environment alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from os import environ
from pathlib import Path
from typing import Any

from persona_rm.bundle import Bundle, load_bundle
from persona_rm.bundle.bundle_file import YAML
from persona_rm.config import did_you_mean
from persona_rm.errors import DataError
from persona_rm.hosts import load_host
from persona_rm.hosts.base import Host
from persona_rm.hosts.command_records import DataColumns, OwnCommand
from persona_rm.io.json_rows import JsonRow
from persona_rm.pipeline.label_check import label_column
from persona_rm.pipeline.members import PACKAGED_MODEL
from persona_rm.recipe import Recipe, load_recipe
from persona_rm.users.own_prompts import PROMPT_COLUMNS, USER_COLUMNS, column_of, read_table


@dataclass(frozen=True)
class DoctorSubject:
    """The options of one examination. A bundle and data are read once, by the first check that needs them."""

    recipe: Recipe | None = None
    folder: Path | None = None
    """The folder of the bundle."""
    command: OwnCommand | None = None
    """The command that starts a team's own job."""
    data: Path | None = None
    label_key: str | None = None
    prompt_key: str | None = None
    """The columns of the data; None: those that the command names, or else `label` and `prompt`."""
    address: str = "127.0.0.1"
    port: int = 8000
    rows: int = 100
    """Rows that are scored; 0: none."""
    variables: Mapping[str, str] = field(default_factory=lambda: dict(environ))

    @cached_property
    def host(self) -> Host:
        """The trainer whose job is examined."""
        return load_host()

    @cached_property
    def bundle(self) -> Bundle | None:
        """The loaded bundle; None if there is none to examine. Raises `DataError` if it cannot be loaded."""
        return None if self.folder is None else load_bundle(self.folder)

    @cached_property
    def data_rows(self) -> list[JsonRow]:
        """The rows of the prompt data, in any form that a rehearsal reads. Raises `DataError` if it cannot be read."""
        return [] if self.data is None else read_table(self.data)

    @cached_property
    def columns(self) -> DataColumns | None:
        """The columns that the command reads."""
        return None if self.command is None else self.host.data_columns(self.command)

    @property
    def label(self) -> str:
        """The column of the users: that of the option or of the command, or the first of `USER_COLUMNS` that there is.
        If the command names none, it is the one that holds users of the bundle; that it must be named is a finding."""
        named = self.label_key or (self.columns.label if self.columns else None)
        if named is None and self.columns and self.bundle is not None and self.data_rows:
            try:
                named = label_column(self.data_rows, self.columns, self.bundle)[0]
            except DataError:  # a finding of check_columns
                named = None
        if named is None and self.data_rows:
            named = column_of(self.data_rows, USER_COLUMNS)
        return named or USER_COLUMNS[0]

    @property
    def prompt(self) -> str:
        """The column of the prompts, guessed as `label` is if the command's is not there."""
        named = self.prompt_key or (self.columns.texts.get("prompt") if self.columns else None)
        missing = self.columns and self.data_rows and named not in self.data_rows[0].data
        guess = column_of(self.data_rows, PROMPT_COLUMNS) if missing else None
        return guess or named or "prompt"

    @property
    def policy(self) -> Path | None:
        """The folder of the model whose tokenizer writes the prompts; None if a packaged or no model is named."""
        if self.bundle is not None and self.bundle.file.policy is not None:
            return self.bundle.path(self.bundle.file.policy)
        if self.recipe is not None and self.recipe.model != PACKAGED_MODEL:
            return Path(self.recipe.model)
        return None


def subject_of_command(folder: Path | None, words: Sequence[str], **options: Any) -> DoctorSubject:
    """The subject of a command: its bundle is `folder`, or the one that its variables name, and its data are those of
    the options, or the command's own file if it is on this machine. The job's variables are the command's.

    Raises `HostError` if the words start no trainer.
    """
    host = load_host()
    command = host.read_command(words)
    named = command.variables.get("PERSONA_RM_BUNDLE")
    own = host.data_columns(command).file
    if options.get("data") is None and own is not None and Path(own).exists():
        options["data"] = Path(own)
    variables = {**(options.pop("variables", None) or environ), **command.variables}
    bundle = folder or (Path(named) if named else None)
    return DoctorSubject(folder=bundle, command=command, variables=variables, **options)


def subject_of(target: Path | None, overrides: Sequence[str] = (), **options: Any) -> DoctorSubject:
    """The subject that a folder or a recipe names. The bundle of a recipe is the one that its first PPO run wrote.

    Raises `RecipeError` if the recipe is wrong; a bundle that is wrong is a finding of the checks.
    """
    if target is None:
        return DoctorSubject(**options)
    if target.is_dir():
        if not (target / YAML).is_file() and (target / "bundle" / YAML).is_file():
            target = target / "bundle"
        return DoctorSubject(folder=target, **options)
    recipe = load_recipe(target, overrides)
    made = [recipe.folder / "ppo" / section / "bundle" for section in recipe.ppo]
    folder = next((path for path in made if (path / YAML).is_file()), None)
    return DoctorSubject(recipe=recipe, folder=folder, **options)


def need_column(rows: Sequence[JsonRow], key: str, option: str) -> None:
    """Raises `DataError`, with the columns that there are, if no row has the column `key`."""
    if rows and not any(key in row.data for row in rows):
        columns = list(dict.fromkeys(column for row in rows[:100] for column in row.data))
        hint = did_you_mean(key, columns)
        problem = f"no row has this column; there is: {', '.join(columns)}{hint}. Name it by {option}"
        raise DataError(problem, file=rows[0].file, key=key)
