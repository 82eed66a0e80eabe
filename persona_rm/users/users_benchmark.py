"""A team's users file as a benchmark: `bench: {sets: {ours: {name: users_file, path: users.jsonl}}}`."""

from functools import cached_property
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from persona_rm.benchmarks.comparisons import plain
from persona_rm.benchmarks.judged import JudgedBenchmark, JudgedConfig
from persona_rm.config import Config
from persona_rm.types import Comparison
from persona_rm.users.read_file import read_users_data


class UsersFileConfig(JudgedConfig):
    """Any file that `persona-rm check` reads. `columns` maps roles to the file's names, as `--map` does."""

    path: Path
    columns: dict[str, str] = Field(default_factory=dict)


class UsersBenchmark(JudgedBenchmark):
    """The group is the prompt, without case and spacing."""

    name: ClassVar[str] = "users_file"
    Config: ClassVar[type[Config]] = UsersFileConfig

    def comparisons(self) -> list[Comparison]:
        """Every comparison with a preference. Raises `DataError` as `check` does."""
        return self._read

    @cached_property
    def _read(self) -> list[Comparison]:
        data = read_users_data(self.config.path, self.config.columns, space=self.space)
        return [
            Comparison(user.persona.user_id, pair.prompt, pair.chosen, pair.rejected, plain(pair.prompt))
            for user in data.users
            for pair in user.persona.pairs
            if pair.is_decided
        ]
