"""What the doctor looks at: a recipe, a bundle, the data of a job, or the environment alone."""

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
from persona_rm.io.json_rows import JsonRow
from persona_rm.pipeline.members import PACKAGED_MODEL
from persona_rm.recipe import Recipe, load_recipe
from persona_rm.users.own_prompts import read_table


@dataclass(frozen=True)
class DoctorSubject:
    """The options of one examination. A bundle and data are read once, by the first check that needs them."""

    recipe: Recipe | None = None
    folder: Path | None = None
    """The folder of the bundle."""
    data: Path | None = None
    label_key: str = "label"
    prompt_key: str = "prompt"
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
        """The rows of the prompt data. Raises `DataError` if the file cannot be read."""
        return [] if self.data is None else read_table(self.data)

    @property
    def policy(self) -> Path | None:
        """The folder of the model whose tokenizer writes the prompts; None if a packaged or no model is named."""
        if self.bundle is not None and self.bundle.file.policy is not None:
            return self.bundle.path(self.bundle.file.policy)
        if self.recipe is not None and self.recipe.model != PACKAGED_MODEL:
            return Path(self.recipe.model)
        return None


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
