"""UKPConvArg1 (Habernal and Gurevych 2016, ACL): which of two arguments for one side convinces this worker more.

About five workers judged each pair, so a personal method has an impersonal rival: the votes of the other workers. If
they have a majority, it agrees with the worker's own non-tie vote in 77.5 % of the pairs; the longer argument wins in
67.9 %. A personal method is useful only if it beats itself with another worker's history
(`controls.shuffled_personas`).

A worker's history and held-out pairs come from different debates. Both stances of a debate are on one side, and no
argument is on both sides. The draws depend on the seed and on ids, never on a vote.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from pydantic import Field

from persona_rm.benchmarks.base import Benchmark, Case
from persona_rm.benchmarks.comparisons import columns_of, drawn, plain, unordered
from persona_rm.config import Config
from persona_rm.errors import DataError
from persona_rm.io.json_rows import JsonRow, read_rows
from persona_rm.types import Comparison, Example, Pair, Persona, content_id

NOTES = ("chosen_argument", "rejected_argument")
"""The keys of `Example.extra` that hold the ids of the two arguments."""


class UkpConfig(Config):
    """The two files; pairs in the history, pairs held out, and the non-tie votes that a worker must have."""

    arguments: Path
    judgments: Path
    history: int = Field(16, ge=1)
    per_user: int = Field(8, ge=1)
    least: int = Field(40, ge=2)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument. `topic` is a debate and one of its two stances; the debate is the topic up to its last `_`.

    Two arguments with the same `plain` text are the same argument.
    """

    topic: str
    prompt: str
    text: str
    plain: str

    @property
    def debate(self) -> str:
        """The debate, without the stance."""
        return self.topic.rpartition("_")[0]


@dataclass(frozen=True, slots=True)
class WorkerVote:
    """One worker found the argument `chosen` more convincing than `rejected` (ids)."""

    user: str
    chosen: str
    rejected: str

    @property
    def key(self) -> str:
        """The key of the pair, without the vote."""
        return unordered(self.chosen, self.rejected)


class Ukp(Benchmark):
    """The persona is the worker's history of pairs; golden directions are unknown. The bootstrap draws workers."""

    name: ClassVar[str] = "ukp"
    Config: ClassVar[type[Config]] = UkpConfig

    def cases(self) -> list[Case]:
        """`per_user` cases of every worker who has enough votes.

        Raises `DataError` with file, row and key, and if no worker has enough votes.
        """
        splits = self._splits
        if not splits:
            raise DataError(
                f"no worker has {self.config.least} votes with {self.config.history} for a history and "
                f"{self.config.per_user} held out of other debates; found {self.counts()}: ask for fewer",
                file=self.config.judgments,
            )
        return [case for user, split in splits.items() for case in self._cases(user, *split)]

    def counts(self) -> dict[str, int]:
        """The number of judgments by what they were used for.

        Ties, and pairs of one text under two ids, give no cases; workers with enough votes may lack the debates for a
        split.
        """
        votes, enough = self._votes, self._enough
        used = {"people_with_least": len(enough), "people_without_split": len(enough) - len(self._splits)}
        read = {"judgments": len(votes) + self._left_out.total(), "votes": len(votes), **self._left_out}
        return {**read, "people": len({vote.user for vote in votes}), **used}

    def majority_rewards(self, cases: Sequence[Case]) -> np.ndarray:
        """Votes of all OTHER workers for (chosen, rejected), shape (n, 2); their ties count for neither.

        A case's own vote is always for `chosen`, so one vote is subtracted there; the case's persona does not matter.
        Raises `DataError` for a case that is not of these files.
        """
        tally = Counter((vote.chosen, vote.rejected) for vote in self._votes)
        pairs = [columns_of(case, self.name, *NOTES) for case in cases]
        for a, b in (pair for pair in pairs if pair not in tally):
            raise DataError(f"no worker preferred {a!r} over {b!r} here", file=self.config.judgments)
        return np.array([(tally[a, b] - 1, tally[b, a]) for a, b in pairs], np.float64).reshape(-1, 2)

    def comparisons(self) -> list[Comparison]:
        """Every vote without a tie; the debate, both stances of it, is the group."""
        return [Comparison(vote.user, *self._sides(vote), self._debate(vote)) for vote in self._votes]

    @cached_property
    def _arguments(self) -> dict[str, Argument]:
        arguments: dict[str, Argument] = {}
        for row in read_rows(self.config.arguments):
            name, topic = row.text("argument_id"), row.text("topic")
            if name in arguments:
                raise row.error("this argument was there before; ids must differ", "argument_id")
            if "_" not in topic:
                raise row.error(f"must be a debate, `_` and a stance, found {topic!r}"[:200], "topic")
            prompt = f"Debate: {row.text('debate')}\nSide: {row.text('stance')}\nGive an argument for this side."
            arguments[name] = Argument(topic, prompt, row.text("text"), plain(row.text("text")))
        return arguments

    @cached_property
    def _read(self) -> tuple[list[WorkerVote], Counter[str]]:
        votes, left_out, seen = [], Counter(ties=0, same_text=0), set()
        for row in read_rows(self.config.judgments):
            user, a, b = row.text("user_id"), self._argument(row, "argument_a"), self._argument(row, "argument_b")
            if (user, unordered(a, b)) in seen:
                raise row.error("this worker judged this pair before; one judgment each", "user_id")
            seen.add((user, unordered(a, b)))
            if self._arguments[a].topic != self._arguments[b].topic:
                raise row.error("both arguments of a pair must be of one topic", "argument_b")
            preferred = row.text("preferred")
            if preferred not in ("a", "b", "tie"):
                raise row.error(f"must be a, b or tie, found {preferred!r}"[:200], "preferred")
            # Both sides say the same, so the vote tells nothing about the worker.
            if self._arguments[a].plain == self._arguments[b].plain:
                left_out["same_text"] += 1
            elif preferred == "tie":
                left_out["ties"] += 1
            else:
                votes.append(WorkerVote(user, *((a, b) if preferred == "a" else (b, a))))
        return votes, left_out

    def _argument(self, row: JsonRow, key: str) -> str:
        name = row.text(key)
        if name not in self._arguments:
            raise row.error(f"no argument {name!r} in {self.config.arguments}"[:300], key)
        return name

    @property
    def _votes(self) -> list[WorkerVote]:
        return self._read[0]

    @property
    def _left_out(self) -> Counter[str]:
        return self._read[1]

    @cached_property
    def _enough(self) -> dict[str, list[WorkerVote]]:
        """The votes of every worker who has enough of them."""
        by_user: dict[str, list[WorkerVote]] = defaultdict(list)
        for vote in self._votes:
            by_user[vote.user].append(vote)
        return {user: by_user[user] for user in sorted(by_user) if len(by_user[user]) >= self.config.least}

    @cached_property
    def _splits(self) -> dict[str, tuple[list[WorkerVote], list[WorkerVote]]]:
        splits = {user: self._split(user, votes) for user, votes in self._enough.items()}
        history, held = self.config.history, self.config.per_user
        # Workers whose votes lie in few debates get shorter sides than asked, and are left out.
        return {user: two for user, two in splits.items() if (len(two[0]), len(two[1])) == (history, held)}

    def _split(self, user: str, votes: Sequence[WorkerVote]) -> tuple[list[WorkerVote], list[WorkerVote]]:
        """(history, held out), of different debates and texts; shorter than asked if the worker has too few votes."""
        order = drawn(votes, lambda vote: vote.key, self.config.seed, user)
        kept_back = self._kept_back(user, order)
        held = [vote for vote in order if self._debate(vote) in kept_back][: self.config.per_user]
        shown = [vote for vote in order if self._debate(vote) not in kept_back]
        # An argument can occur in several pairs, and one text under several ids. What is held out must not be read
        # in the history.
        texts = self._texts(held)
        return [vote for vote in shown if not texts & self._texts([vote])][: self.config.history], held

    def _kept_back(self, user: str, votes: Sequence[WorkerVote]) -> set[str]:
        """Debates for the held-out side, by their share of the votes; enough votes are left for a history."""
        sizes = Counter(self._debate(vote) for vote in votes)
        history, held = self.config.history, self.config.per_user
        aim, n, kept = max(held, len(votes) * held // (held + history)), 0, set()
        for debate in drawn(sizes, str, self.config.seed, user):
            # Whole debates are taken, so the aim is reached only roughly; what is left must still fill a history.
            if n < aim and len(votes) - n - sizes[debate] >= history:
                kept.add(debate)
                n += sizes[debate]
        return kept

    def _debate(self, vote: WorkerVote) -> str:
        return self._arguments[vote.chosen].debate

    def _texts(self, votes: Sequence[WorkerVote]) -> set[str]:
        return {self._arguments[name].plain for vote in votes for name in (vote.chosen, vote.rejected)}

    def _cases(self, user: str, history: Sequence[WorkerVote], held: Sequence[WorkerVote]) -> list[Case]:
        persona = Persona(user, pairs=tuple(Pair(*self._sides(vote)) for vote in history))
        return [self._case(vote, persona) for vote in held]

    def _case(self, vote: WorkerVote, persona: Persona) -> Case:
        ident = content_id(self.name, vote.user, vote.key)
        extra = dict(zip(NOTES, (vote.chosen, vote.rejected), strict=True))
        example = Example(ident, *self._sides(vote), (), persona, self.name, self._debate(vote), extra)
        return Case(example, cluster=vote.user)

    def _sides(self, vote: WorkerVote) -> tuple[str, str, str]:
        chosen, rejected = self._arguments[vote.chosen], self._arguments[vote.rejected]
        return chosen.prompt, chosen.text, rejected.text
