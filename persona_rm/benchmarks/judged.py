"""Benchmarks that are made of users' own comparisons: cases are drawn from them, with other groups as the history."""

from collections import defaultdict
from collections.abc import Iterator

from pydantic import Field

from persona_rm.benchmarks.base import Benchmark, Case
from persona_rm.benchmarks.comparisons import drawn, unordered
from persona_rm.config import Config
from persona_rm.types import Comparison, Example, Pair, Persona, content_id


class JudgedConfig(Config):
    """`history`: pairs in a case's evidence; `per_user`: most held-out pairs of a user, who needs `history` others."""

    history: int = Field(16, ge=1)
    per_user: int = Field(8, ge=1)
    seed: int = 0


class JudgedBenchmark(Benchmark):
    """A member defines `comparisons`."""

    def cases(self) -> list[Case]:
        """For each user the held-out comparisons of about a third of the groups, the history from the others."""
        by_user: dict[str, list[Comparison]] = defaultdict(list)
        for one in self.comparisons():
            by_user[one.user_id].append(one)
        return [case for user in sorted(by_user) for case in self._cases(user, by_user[user])]

    def _cases(self, user: str, rows: list[Comparison]) -> Iterator[Case]:
        seed = self.config.seed
        groups = drawn({row.group for row in rows}, str, seed, user)
        kept_back = set(groups[: max(1, len(groups) // 3)])
        order = drawn(rows, lambda row: unordered(row.chosen, row.rejected) + row.group, seed, user)
        history = [row for row in order if row.group not in kept_back][: self.config.history]
        if len(history) < self.config.history:
            return
        persona = Persona(user, pairs=tuple(Pair(row.prompt, row.chosen, row.rejected) for row in history))
        for row in [row for row in order if row.group in kept_back][: self.config.per_user]:
            ident = content_id(self.name, user, row.prompt, *sorted((row.chosen, row.rejected)))
            example = Example(ident, row.prompt, row.chosen, row.rejected, (), persona, self.name, row.group)
            yield Case(example, cluster=user)
