"""Preference data from a policy's own samples: of n answers for a user, the best against the worst by their reward.

Each prompt is rendered as the policy reads it for the user (`Bundle.render`), so the rows train DPO on what the policy
itself writes. Best of n against worst of n has the largest margin that n samples give. Equal answers are one.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import Field
from rich.console import Console

from persona_rm.backends.base import Generation, Sampler
from persona_rm.backends.vllm_engine import VllmConfig, VllmGenerator
from persona_rm.bundle import Bundle
from persona_rm.errors import DataError, ScoreError
from persona_rm.hosts import load_host
from persona_rm.hosts.common.env import Device
from persona_rm.pipeline.stages.offline_rewards import OfflineRewards
from persona_rm.pipeline.stages.pair_report import PairReport
from persona_rm.pipeline.stages.user_rows import UserRow, UserRowsConfig, UserRowsJob, Worked
from persona_rm.types import Pair, Prompt, RewardRequest, RewardResult, text_of

COLUMNS = ("prompts", "rows", "left out", "ties", "too small", "too few answers", "answers", "cut answers")


class PairsConfig(UserRowsConfig):
    """How answers are sampled, and which become pairs.

    A prompt gives no pair if all its answers have the same reward (a tie), if best and worst differ by less than
    `min_margin`, or if fewer than two different answers are left.
    """

    n: int = Field(4, ge=2)
    max_tokens: int = Field(256, ge=1)
    """The limit of an answer."""
    temperature: float = Field(1.0, gt=0, allow_inf_nan=False)
    cut_answers: bool = False
    """Use answers that were cut at `max_tokens` too. DPO would teach the policy to end in the middle of a sentence."""


def make_pairs(
    path: str,
    bundle: Bundle,
    sampler: Sampler,
    out: Path,
    config: PairsConfig,
    console: Console | None = None,
    *,
    model: Path | None = None,
    every: float = 5.0,
) -> PairReport:
    """Write a row for each prompt and user of `path` whose answers differ in reward, and a report beside `out`.

    `model` is the folder of the policy: an interrupted job continues only if its files are the same. Raises as
    `relabel` does, and `HostError` if the engine is down.
    """
    report = PairReport(COLUMNS, "rows")
    job = UserRowsJob(path, out, config, bundle, report)
    worker = _Pairs(job, config, sampler)
    job.run(worker.work, {"verb": "pairs", "model": _stamp(model)}, console, every)
    return report


def engine_of(model: Path, on: Device) -> VllmGenerator:
    """vLLM for the policy in this folder. Without a GPU it is one that a laptop can hold."""
    if on == "gpu":
        return VllmGenerator(VllmConfig(model=str(model), logprobs=False))
    os.environ.setdefault("VLLM_CPU_KVCACHE_SPACE", "1")
    # On a CPU the utilisation is a share of the machine's memory, and there are no CUDA graphs to capture.
    small: dict[str, Any] = {"gpu_memory_utilization": 0.1, "enforce_eager": True, "dtype": "float32"}
    # A prompt that is read in two steps rewinds the generator of its seed, which vLLM 0.29 can do on a GPU only: the
    # engine dies ("CPU Generator does not use offset") once the prompts of a call exceed one step's tokens.
    small["enable_chunked_prefill"] = False
    return VllmGenerator(VllmConfig(model=str(model), logprobs=False, **small))


@dataclass(frozen=True, slots=True)
class AskedPrompt:
    """One prompt for one user."""

    item: UserRow
    kind: str
    """What the bundle knows about the user."""
    bare: Prompt
    prompt: str
    """What the policy reads."""


class _Pairs:
    """One batch after another; the counts go to the report of the job."""

    def __init__(self, job: UserRowsJob, config: PairsConfig, sampler: Sampler) -> None:
        self.job, self.config, self.sampler, self.host = job, config, sampler, load_host()
        self.rewards = OfflineRewards(job.bundle)
        job.report.remark = self.rewards.remark

    def work(self, batch: Sequence[UserRow]) -> Worked:
        """The rows of a batch, and the faults of prompts that cannot be read, answered or scored."""
        faults: list[DataError] = []
        asked: list[AskedPrompt] = []
        for item in batch:
            try:
                bare = self.host.read_prompt(item.row)
            except DataError as error:
                faults.append(error)
            else:
                kind = self.job.kind(item, text_of(bare))
                asked.append(AskedPrompt(item, kind, bare, self.job.bundle.render(item.user, bare)))
        seeds = [_seed(f"{self.config.seed}/{one.item.name}") for one in asked]
        sampling = self.config.model_dump(include={"n", "max_tokens", "temperature"})
        answers = self.sampler.sample([one.prompt for one in asked], seeds, **sampling)
        groups = [self._requests(one, given) for one, given in zip(asked, answers, strict=True)]
        rows: list[dict[str, Any]] = []
        outcomes = self.rewards.of(groups)
        for one, given, group, outcome in zip(asked, answers, groups, outcomes, strict=True):
            if given[0].error:
                faults.append(one.item.error(f"no answer: {given[0].error}", "prompt"))
            elif isinstance(outcome, ScoreError):
                faults.append(one.item.error(f"no reward: {outcome.problem}", "prompt"))
            else:
                cut = sum(not answer.finished for answer in given)
                names = [*["answers"] * len(given), *["cut answers"] * cut]
                self.job.report.count(one.item.user, one.kind, *names)
                rows += self._row(one, [request.response for request in group], outcome)
        return rows, faults

    def _requests(self, asked: AskedPrompt, answers: Sequence[Generation]) -> list[RewardRequest]:
        """The different answers that can be used, without the white space at their ends: the host puts a space of its
        own before EOS, and a policy that was trained so writes one."""
        used: dict[str, bool] = {}
        for answer in answers:
            if not answer.error and (answer.finished or self.config.cut_answers):
                used.setdefault(answer.text.rstrip(), answer.finished)
        return [RewardRequest(asked.item.user, asked.bare, text, finished) for text, finished in used.items()]

    def _row(self, asked: AskedPrompt, texts: Sequence[str], results: Sequence[RewardResult]) -> list[dict[str, Any]]:
        """The row of a prompt, or none."""
        order = sorted(range(len(texts)), key=lambda place: results[place].reward)
        margin = results[order[-1]].reward - results[order[0]].reward if len(texts) > 1 else 0.0
        reasons = {"too few answers": len(texts) < 2, "ties": len(texts) > 1 and margin == 0}
        reasons["too small"] = len(texts) > 1 and margin < self.config.min_margin
        names = [name for name, holds in reasons.items() if holds]
        counted = ("prompts", *names, "left out" if names else "rows")
        self.job.report.count(asked.item.user, asked.kind, *counted, margin=margin)
        if names:
            return []
        given = {**asked.item.row.data, self.job.user_column: asked.item.user, "bare_prompt": text_of(asked.bare)}
        best, worst = texts[order[-1]], texts[order[0]]
        return [self.host.preference_row(given, Pair(asked.prompt, best, worst), margin)]


def _stamp(model: Path | None) -> list[list[Any]]:
    """Name, size and time of each file of a model; hashing the weights of a large one would take minutes."""
    files = sorted(model.iterdir()) if model is not None else ()
    return [[file.name, file.stat().st_size, file.stat().st_mtime_ns] for file in files if file.is_file()]


def _seed(name: str) -> int:
    """A seed of 31 bits from a name, the same on every machine."""
    return int.from_bytes(sha256(name.encode("utf-8", "surrogatepass")).digest()[:4], "big") >> 1
