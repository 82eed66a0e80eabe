"""CoBBLEr (Koo et al. 2023): six people ranked 15 models' answers to each of 50 prompts.

Pairs are drawn once and are the same for all six people, so two people differ only in what they chose: a user's
history and a shuffled one hold the same texts. History and held-out pairs come from different prompts.

Six people, of whom `cobbler_1` and `cobbler_2` agree on 86 % of pairs, cannot be resampled: the bootstrap draws
prompts (`Case.cluster`), as for P-SOUPS. An interval is therefore about other prompts for these six people, not about
other people. Figures by user (`Case.group_label`) show the differences between them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, zip_longest
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from persona_rm.benchmarks.base import Benchmark, Case
from persona_rm.benchmarks.comparisons import columns_of, drawn, plain, unordered
from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.io.json_rows import JsonRow, read_rows
from persona_rm.types import Comparison, Example, Pair, Persona, content_id

NOTES = ("prompt_id", "chosen_model", "rejected_model")
"""The keys of `Example.extra` that hold the prompt and the two models; the user is `Case.group_label`."""


class CobblerConfig(Config):
    """The file; pairs in each history (one per prompt, for up to half of the prompts), and pairs held out, dealt
    evenly over the other prompts."""

    path: Path
    history: int = Field(16, ge=1)
    per_user: int = Field(102, ge=1)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Ranking:
    """One prompt: the response of each model, and each user's ranks of the models. The best rank is the highest."""

    prompt: str
    responses: Mapping[str, str]
    ranks: Mapping[str, Mapping[str, int]]

    @property
    def id(self) -> str:
        """The id of the prompt."""
        return content_id(self.prompt)


@dataclass(frozen=True, slots=True)
class Duel:
    """Two models' answers to one prompt, in the order of their names."""

    ranking: Ranking
    models: tuple[str, str]

    def sides(self, user: str) -> tuple[str, str]:
        """(chosen, rejected) models by this user's ranks."""
        a, b = self.models
        return (a, b) if self.ranking.ranks[user][a] > self.ranking.ranks[user][b] else (b, a)

    def texts(self, user: str) -> tuple[str, str, str]:
        """Prompt, chosen, rejected."""
        chosen, rejected = self.sides(user)
        return self.ranking.prompt, self.ranking.responses[chosen], self.ranking.responses[rejected]


class Cobbler(Benchmark):
    """The persona is the user's history of pairs; golden directions are unknown. The bootstrap draws prompts."""

    name: ClassVar[str] = "cobbler"
    Config: ClassVar[type[Config]] = CobblerConfig

    def cases(self) -> list[Case]:
        """`per_user` cases of each user, the same pairs in the same order.

        Raises `DataError` with file, row and key, and if the prompts do not yield that many pairs.
        """
        order = drawn(self._rankings.values(), lambda ranking: ranking.id, self.config.seed)
        # At most half of the prompts, so that enough are left to hold out.
        shown = min(self.config.history, len(order) // 2)
        # The split is by prompt, so no prompt is both in a history and held out.
        history = self._dealt(order[:shown], "history")
        held = self._dealt(order[shown:], "per_user")
        return [case for user in self._users for case in self._cases(user, history, held)]

    def majority_rewards(self, cases: Sequence[Case]) -> np.ndarray:
        """Mean rank of (chosen, rejected) by the OTHER people, shape (n, 2); the persona of a case does not matter.

        Raises `DataError` for a case that is not of this file, or if only one person ranked.
        """
        return np.array([self._others(case) for case in cases], np.float64).reshape(-1, 2)

    def _others(self, case: Case) -> tuple[float, float]:
        prompt, chosen, rejected = columns_of(case, self.name, *NOTES)
        if prompt not in self._rankings or case.group_label not in self._users:
            raise DataError(f"case {case.example.id!r} is not of this file", file=self.config.path)
        # The user's own rank is left out, or the majority would know the answer.
        ranks = [by for user, by in self._rankings[prompt].ranks.items() if user != case.group_label]
        if not ranks:
            raise DataError("one person ranked alone: there is no majority of others", file=self.config.path)
        return sum(by[chosen] for by in ranks) / len(ranks), sum(by[rejected] for by in ranks) / len(ranks)

    def comparisons(self) -> list[Comparison]:
        """Every two answers to a prompt, as each person ranked them; the prompt is the group."""
        return [
            Comparison(user, *duel.texts(user), ranking.id)
            for user in self._users
            for ranking in self._rankings.values()
            for duel in self._duels(ranking)
        ]

    @cached_property
    def _rankings(self) -> dict[str, Ranking]:
        rankings: dict[str, Ranking] = {}
        users: set[str] = set()
        for row in read_rows(self.config.path):
            ranking = _ranking(row)
            # The first row says who ranked. All others must agree, because every user gets the same pairs.
            users = users or {*ranking.ranks}
            if {*ranking.ranks} != users:
                problem = f"every prompt must be ranked by the same people, {sorted(users)}; found {[*ranking.ranks]}"
                raise row.error(problem[:300], "rank_by_user")
            if ranking.id in rankings:
                raise row.error("this prompt was there before; prompts must differ", "prompt")
            rankings[ranking.id] = ranking
        return rankings

    @property
    def _users(self) -> list[str]:
        return sorted(next(iter(self._rankings.values())).ranks)

    def _dealt(self, rankings: Sequence[Ranking], key: str) -> list[Duel]:
        """As many pairs as the config says at `key`: one of every prompt, then a second of every prompt, and so on."""
        asked: int = getattr(self.config, key)
        # Prompts have different numbers of pairs; the shorter ones are filled with None.
        rounds = zip_longest(*(self._duels(ranking) for ranking in rankings))
        duels = [duel for group in rounds for duel in group if duel]
        if len(duels) < asked:
            problem = f"{len(rankings)} prompts yield {len(duels)} pairs, {asked} were asked for: ask for fewer"
            raise DataError(problem, file=self.config.path, key=key)
        return duels[:asked]

    def _duels(self, ranking: Ranking) -> list[Duel]:
        """Every pair of different texts, in drawn order."""
        texts = {model: plain(text) for model, text in ranking.responses.items()}
        # Two models may have given the same text, which cannot be ordered.
        pairs = [(a, b) for a, b in combinations(sorted(texts), 2) if texts[a] != texts[b]]
        order = drawn(pairs, lambda pair: unordered(*pair), self.config.seed, ranking.id)
        return [Duel(ranking, pair) for pair in order]

    def _cases(self, user: str, history: Sequence[Duel], held: Sequence[Duel]) -> list[Case]:
        persona = Persona(user, pairs=tuple(Pair(*duel.texts(user)) for duel in history))
        return [self._case(user, duel, persona) for duel in held]

    def _case(self, user: str, duel: Duel, persona: Persona) -> Case:
        prompt = duel.ranking.id
        ident = content_id(self.name, user, prompt, *duel.models)
        extra = dict(zip(NOTES, (prompt, *duel.sides(user)), strict=True))
        example = Example(ident, *duel.texts(user), (), persona, self.name, prompt, extra)
        return Case(example, group_label=user, cluster=prompt)


def _ranking(row: JsonRow) -> Ranking:
    texts = _inside(row, "responses")
    responses = {model: texts.text(model) for model in texts.data}
    if len(responses) < 2:
        raise row.error(f"needs two responses or more, found {len(responses)}", "responses")
    users = _inside(row, "rank_by_user")
    if not users.data:
        raise row.error("no ranks for this prompt", "rank_by_user")
    return Ranking(row.text("prompt"), responses, {user: _ranks(users, user, responses) for user in users.data})


def _ranks(users: JsonRow, user: str, responses: Mapping[str, str]) -> dict[str, int]:
    """One user's ranks: 0 to n - 1, each once, for exactly the models that responded."""
    own = _inside(users, user)
    ranks = {model: own.required(model, int) for model in responses}
    if {*own.data} != {*responses} or sorted(ranks.values()) != list(range(len(ranks))):
        problem = f"must give the ranks 0 to {len(ranks) - 1} to the models of `responses`, found {dict(own.data)}"
        raise users.error(problem[:300], user)
    return ranks


def _inside(row: JsonRow, key: str) -> JsonRow:
    """The object at `key` as a row of its own, so that errors name keys inside it."""
    data: dict[str, Any] = row.required(key, dict)
    return JsonRow(data, row.file, row.number, f"{row.prefix}{key}.")
