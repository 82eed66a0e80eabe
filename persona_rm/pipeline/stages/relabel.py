"""Preference data in which each user's own reward says which of two responses is chosen.

The margin of a pair is the user's reward of `chosen` minus that of `rejected`. Responses may change their places, so
that DPO on the written rows trains towards the same reward as PPO with this bundle. Each pair stands under the prompt
that the policy reads for its user (`Bundle.render`): without it, two users with opposite margins would be two
contradictory rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, ClassVar, Literal

from pydantic import Field
from rich.console import Console

from persona_rm.bundle import Bundle
from persona_rm.errors import DataError, ScoreError
from persona_rm.hosts import load_host
from persona_rm.hosts.base import Preference
from persona_rm.maths import sigmoid
from persona_rm.pipeline.stages.offline_rewards import OfflineRewards
from persona_rm.pipeline.stages.pair_report import PairReport
from persona_rm.pipeline.stages.user_rows import UserRow, UserRowsConfig, UserRowsJob, Worked
from persona_rm.types import Pair, RewardRequest, RewardResult, text_of

Mode = Literal["keep", "swap", "weight", "drop"]
COLUMNS = ("pairs", "turned", "left out", "disagreed", "ties", "too small", "rows")


class RelabelConfig(UserRowsConfig):
    """What happens to a pair whose user prefers the other response.

    keep: nothing, only its margin is written. swap: the responses change places. drop: the pair is left out. weight:
    as swap, and a pair counts by how sure the preference is: w = 2 sigmoid(|margin|) - 1, from 0 for a tie to 1.
    A tie stays as it is, except with `weight`. With `min_margin` pairs below it are left out, except with `keep`.
    """

    roles: ClassVar[tuple[str, ...]] = ("user", "prompt", "chosen", "rejected")
    mode: Mode = "swap"
    copies: int = Field(4, gt=0)
    """With `weight`, a pair is written `copies` times w on average, because a trainer may have no weights for rows."""
    prompts: Literal["policy", "given"] = "policy"
    """policy: the prompt becomes the text that the policy reads for this user, and chat messages become texts; the
    bare prompt is kept as the text `bare_prompt`. given: prompt and responses stay as they came, chat messages too."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do with a pair."""

    turn: bool
    copies: int
    names: tuple[str, ...]
    """What it counts as, beside a pair."""
    weight: float = 1.0


def decide(margin: float, config: RelabelConfig, draw: float) -> Decision:
    """What the margin means for a pair. `draw`, uniform in [0, 1), rounds the number of copies without bias."""
    disagreed = margin < 0
    names = [name for name, holds in (("ties", margin == 0), ("disagreed", disagreed)) if holds]
    small = abs(margin) < config.min_margin
    names += ["too small"] if small else []
    if config.mode == "keep":
        return Decision(False, 1, (*names, "rows"))
    if small or (config.mode == "drop" and disagreed):
        return Decision(False, 0, (*names, "left out"))
    weight, copies = 1.0, 1
    if config.mode == "weight":
        weight = 2 * sigmoid(abs(margin)) - 1
        copies = int(config.copies * weight + draw)
    turn = disagreed and config.mode != "drop"
    names += ["turned"] if turn and copies else []
    return Decision(turn, copies, (*names, *["rows"] * copies, *["left out"] * (not copies)), weight)


def relabel(
    path: str, bundle: Bundle, out: Path, config: RelabelConfig, console: Console | None = None, *, every: float = 5.0
) -> PairReport:
    """Write the pairs of `path` (a file, a folder or a pattern) to `out`, and a report beside it.

    Raises `DataError` if there is no row to write, and `ScoreError` if the bundle cannot score.
    """
    report = PairReport(COLUMNS, "disagreed")
    job = UserRowsJob(path, out, config, bundle, report)
    worker = _Relabel(job, config)
    job.run(worker.work, {"verb": "relabel"}, console, every)
    return report


class _Relabel:
    """One batch after another; the counts go to the report of the job."""

    def __init__(self, job: UserRowsJob, config: RelabelConfig) -> None:
        self.job, self.config, self.host = job, config, load_host()
        self.rewards = OfflineRewards(job.bundle)
        job.report.remark = self.rewards.remark

    def work(self, batch: Sequence[UserRow]) -> Worked:
        """The rows of a batch, and the faults of rows that cannot be read or scored."""
        faults: list[DataError] = []
        readable: list[tuple[UserRow, Preference]] = []
        for item in batch:
            try:
                readable.append((item, self.host.read_preference(item.row)))
            except DataError as error:
                faults.append(error)
        groups = []
        for item, pair in readable:
            groups.append([RewardRequest(item.user, pair.prompt, text) for text in (pair.chosen, pair.rejected)])
        rows: list[dict[str, Any]] = []
        for (item, pair), outcome in zip(readable, self.rewards.of(groups), strict=True):
            if isinstance(outcome, ScoreError):
                faults.append(item.error(f"no reward: {outcome.problem}", "chosen"))
            else:
                rows += self._rows(item, pair, outcome)
        return rows, faults

    def _rows(self, item: UserRow, pair: Preference, results: Sequence[RewardResult]) -> list[dict[str, Any]]:
        chosen, rejected = results
        margin = chosen.reward - rejected.reward
        kind = self.job.kind(item, text_of(pair.prompt))
        decision = decide(margin, self.config, Random(f"{self.config.seed}/{item.name}").random())
        self.job.report.count(item.user, kind, "pairs", *decision.names, margin=margin)
        if not decision.copies:
            return []
        given = {**item.row.data, self.job.user_column: item.user}
        if self.config.mode == "weight":
            given["weight"] = decision.weight
        texts = None
        if self.config.prompts == "policy":
            given["bare_prompt"] = text_of(pair.prompt)
            best, worst = (pair.rejected, pair.chosen) if decision.turn else (pair.chosen, pair.rejected)
            escape = self.job.bundle.prompts.escape
            texts = Pair(self.job.bundle.render(item.user, pair.prompt), escape(best), escape(worst))
        margin = -margin if decision.turn else margin
        return [self.host.preference_row(given, texts, margin, turned=decision.turn)] * decision.copies
