"""The reward actor: it holds the bundle, a micro-batcher in front of it, post-processing, and the reward log.

If no inference actor runs, the reward actor also answers what a user prefers (`profile`), because it holds the same
users and reads the same store.
"""

import asyncio
import logging
import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from threading import Lock
from typing import Any

from persona_rm.bundle import Bundle, PostprocessInputs, load_bundle
from persona_rm.bundle.group_scores import NORMALISE
from persona_rm.bundle.startup import startup_check
from persona_rm.errors import ErrorKind, Late, ScoreError
from persona_rm.io.log_ids import LogIds
from persona_rm.prompts import text_of
from persona_rm.serving.actor.batcher import MicroBatcher
from persona_rm.serving.actor.group_buffer import GroupBuffer
from persona_rm.serving.actor.reward_log import LOG_FOLDER, RewardLog
from persona_rm.serving.actor.saved_statistics import STATISTICS, SavedStatistics
from persona_rm.serving.failure_line import failure_line
from persona_rm.serving.label_monitor import EXAMPLES
from persona_rm.serving.optional_writes import OptionalWrites
from persona_rm.serving.postprocess import Postprocessor
from persona_rm.serving.request_ids import with_id
from persona_rm.serving.sample_metrics import PREFIX, SampleMetrics
from persona_rm.types import Prompt, RewardRequest, RewardResult, RewardStep, UserState, UserStatus

logger = logging.getLogger(__name__)
MOST_TOKENS = 65_536
"""Upper bound on the estimated tokens in one batch. Backends may split a batch further."""
CLOSE_TIMEOUT = 1.0
"""Seconds that closing waits for the batch that is being scored."""
OUTCOMES = ("scored", "shared", "late", "left", "full", "failed")
"""The outcomes of requests. Shared: computed together with an equal request, and counted as scored too. Left:
cancelled by the caller. Full: rejected because there was no room."""
_OUTCOME_OF_ERROR: Mapping[ErrorKind, str] = {"late": "late", "group": "late", "busy": "full"}
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Upper bounds of the histogram of batch sizes; larger batches are counted as "more"."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The user as the policy reads it: directions in words ("" for an unknown user), and the whole prompt."""

    text: str
    prompt: Prompt
    """The whole prompt. The turns of a chat, if only the host knows the chat template that makes a text of them."""
    user_known: bool
    version: int = 0
    """The version of the state in the profile store; 0 without one."""
    status: UserStatus = "ok"


def profile_of(bundle: Bundle, inferred: UserState, prompt: Prompt) -> Profile:
    """An inferred state in words and in front of `prompt`."""
    text, whole = bundle.profile_of(inferred), bundle.render_of(inferred, prompt)
    return Profile(text, whole, inferred.known, inferred.version, inferred.status)


class RewardActor:
    """A plain class; `pool.start_pool` makes a Ray actor of it. A restarted actor loads the bundle again."""

    def __init__(
        self, bundle: str, name: str, run_dir: str | None = None, max_rows: int = 64, max_wait: float = 0.003
    ) -> None:
        self.name, self.bundle = name, load_bundle(bundle)
        self.metrics = SampleMetrics(self.bundle.groups, self.bundle.log_dims)
        self.inputs, self.postprocess = PostprocessInputs(self.bundle), Postprocessor(self.bundle.file.postprocess)
        self.inputs.check()
        self.batcher: MicroBatcher[RewardRequest, RewardResult] = MicroBatcher(
            self._score, max_rows, max_wait, cost=_tokens, max_cost=MOST_TOKENS, same=_computation,
            group=lambda request: (request.user, request.prompt),
        )  # fmt: skip
        config = self.bundle.file.groups
        self.together: GroupBuffer[RewardRequest, RewardResult] | None = (
            GroupBuffer.of(config, self._group) if config else None
        )
        self.finder: MicroBatcher[tuple[str | None, str], UserState] = MicroBatcher(self._find, max_rows, max_wait)
        # The batcher, the finder and the comparisons run in threads of their own, and a bundle is not thread-safe.
        self._bundle_lock, self._closed = Lock(), False
        self._comparison_began: float | None = None
        self.counts: Counter[str] = Counter()
        self.writes = OptionalWrites(name)
        self.sizes = dict.fromkeys([*map(str, SIZES), "more", "rows"], 0)
        """The histogram of the calls of the method by their rows, and the sum of their rows."""
        run = Path(run_dir) if run_dir else None
        # One key for this actor's lines, its messages and those of its clients: that of the folder with the log.
        plain = self.bundle.file.log_users == "plain"
        self.ids_folder = run or self.bundle.folder
        self.log_ids = self.bundle.log_ids = LogIds.in_folder(self.ids_folder, plain=plain)
        self.log = run / LOG_FOLDER / f"{name}.jsonl" if run else None
        self.reward_log = RewardLog(self.log, self.log_ids, self.writes)
        self.statistics = SavedStatistics(
            run / STATISTICS / f"{name}.json" if run else None, self.postprocess, self.writes
        )

    async def score(self, request: RewardRequest, *, caller: str = "", deadline: float | None = None) -> RewardResult:
        """One reward. Raises what the method raised for this request; other requests of its batch are not affected.

        If the bundle has groups, it waits for the other samples of this user's prompt. `caller` names the caller, so
        that one caller with many requests does not starve the others. After `deadline` seconds it raises `Late`.
        """
        started, request = time.perf_counter(), with_id(request)
        try:
            # Here, and not in the batch: other rows of the batch would be scored again because of this one.
            self.bundle.reader.limits.check(request)
            result, group_metrics = await self._scored(request, caller, deadline)
            result = self._finish(request, result, group_metrics)
        # CancelledError is no Exception, so it needs a clause of its own to be counted.
        except asyncio.CancelledError:
            self.counts["left"] += 1
            raise
        except Exception as error:
            kind: ErrorKind = error.kind if isinstance(error, ScoreError) else "failed"
            self.counts[_OUTCOME_OF_ERROR.get(kind, "failed")] += 1
            logger.warning("persona_rm: %s gave no reward, %s", self.name, failure_line(request, error, self.log_ids))
            raise
        self._record(request, result, time.perf_counter() - started)
        return result

    async def score_batch(self, requests: Sequence[RewardRequest], *, caller: str = "") -> list[RewardResult]:
        """All rewards of a batch. Raises the `ScoreError` of the first request that failed, with the positions of all
        that did."""
        results, failed, first_error = [], [], None
        # Every request is awaited even if one fails, so that the error names all positions that failed.
        calls = [self.score(request, caller=caller) for request in requests]
        for i, result in enumerate(await asyncio.gather(*calls, return_exceptions=True)):
            if isinstance(result, RewardResult):
                results.append(result)
            else:
                failed.append(i)
                first_error = first_error or result
        if first_error is None:
            return results
        if isinstance(first_error, ScoreError) and len(requests) > 1:
            raise first_error.at(*failed)
        raise first_error

    async def profile(self, user: str | None, prompt: Prompt) -> Profile:
        """The user's directions in words and `prompt` in the form that the policy reads. Raises `ScoreError`."""
        self.bundle.reader.limits.check_prompt(prompt)
        inferred = await self.finder.submit((user, text_of(self.bundle.reader.bare(prompt))))
        self.counts["profiles"] += 1
        return profile_of(self.bundle, inferred, prompt)

    async def info(self) -> dict[str, Any]:
        """What the actor serves, and its counters since this process started."""
        sizes = self.batcher.sizes
        return {
            "name": self.name,
            "pid": os.getpid(),
            "bundle": str(self.bundle.folder),
            "method": self.bundle.method.name,
            "users": len(self.bundle.users),
            "some_users": list(islice(self.bundle.users, EXAMPLES)),
            "groups": self.bundle.groups,
            "log_dims": self.bundle.log_dims,
            "counts": dict(self.counts),
            "rows": {name: self.counts[name] for name in OUTCOMES} | {"shared": self.batcher.counts["shared"]},
            "unwritten": dict(self.writes.failed),
            "log_ids": {"folder": str(self.ids_folder), "plain": self.log_ids.key is None},
            "statistics": {"samples": self.postprocess.every.count, "shared": False},
            "batches": dict(self.sizes),
            "engine": self.bundle.engine_counters(),
            "waiting": self.batcher.waiting + self.batcher.outside,
            "stuck": max(self.batcher.stuck, self._comparing()),
            "batcher": dict(self.batcher.counts),
            "mean_batch": sum(sizes) / len(sizes) if sizes else 0.0,
        }

    async def warm(self) -> float:
        """Load the models by the start-up check: what cannot score fails here. Returns the first sentence's reward."""

        def check() -> list[RewardResult]:
            with self._one_thread():
                return startup_check(self.bundle)

        results = await asyncio.to_thread(check)
        # A new postprocessor is used and dropped: these sentences must not enter the running statistics.
        dropped = Postprocessor(self.postprocess.config)
        rewards = [dropped.apply(result).reward for result in results]
        return rewards[0]

    async def close(self) -> None:
        """Fail every request that waits, and close engines and store. Later requests raise `ScoreError` too."""
        for part in (self.batcher, self.finder, self.together):
            if part is not None:
                part.close()
        await asyncio.to_thread(self._close_bundle)

    def __ray_shutdown__(self) -> None:
        """Ray calls this when an actor ends by SIGTERM or exits by itself, and not when it is killed."""
        self._close_bundle()

    def _close_bundle(self) -> None:
        """Close after the batch that is being scored, or during it if that takes too long: it may hang."""
        self._closed = True
        # `_closed` is set before the lock is taken, so a call that waits for the lock fails instead of using a closed
        # bundle.
        locked = self._bundle_lock.acquire(timeout=CLOSE_TIMEOUT)
        try:
            # Noticed once more: a user who was erased since the last request must not be saved again. States that no
            # request has asked for are not opened for it.
            if "user_states" in vars(self.bundle):
                self.bundle.user_states.notice_erased()
                self._forget_erased()
            self.statistics.save()
        finally:
            self.bundle.close()
            if locked:
                self._bundle_lock.release()

    async def _scored(
        self, request: RewardRequest, caller: str, deadline: float | None
    ) -> tuple[RewardResult, Mapping[str, float]]:
        """The result before post-processing, and the metrics of its group if the bundle has groups."""
        if self.together is None or self.bundle.file.groups is None:
            return await self.batcher.submit(request, caller=caller, deadline=deadline), {}
        try:
            async with asyncio.timeout(deadline) as timeout:
                # The name of the group is part of the key: two rollouts of one prompt at the same time are two groups.
                key = request.user, request.prompt, request.group
                done = await self.together.submit(key, self.bundle.file.groups.size, request)
        except TimeoutError as error:
            # A TimeoutError of the scoring itself is not the deadline of this call.
            if not timeout.expired():
                raise
            raise Late(f"no reward of its group within {deadline} s") from error
        return done.result, done.logs

    def _score(self, requests: Sequence[RewardRequest]) -> list[RewardResult]:
        with self._one_thread(len(requests)):
            return self.inputs.add(requests, self.bundle.score(requests))

    async def _group(self, requests: Sequence[RewardRequest]) -> list[RewardResult]:
        """The samples of one prompt: their rewards, and those of the prior, on the group's scale."""
        config = self.bundle.file.groups
        if config is not None and config.listwise:
            results = await asyncio.to_thread(self._compare, requests)
        else:
            results = list(await asyncio.gather(*map(self.batcher.submit, requests)))
        scale = config.normalise if config is not None else "none"
        rewards = NORMALISE[scale]([result.reward for result in results])
        # A prior is compared with the reward later, so both are put on the scale of the same samples. If one sample
        # has no prior, all priors stay as they are.
        priors = [result.trace.inputs["prior"] for result in results if "prior" in result.trace.inputs]
        scaled_priors = NORMALISE[scale](priors) if len(priors) == len(results) else None
        normalised = []
        for i, (result, reward) in enumerate(zip(results, rewards, strict=True)):
            # The method's std is not on the group's scale, so no later step may use it.
            trace = replace(result.trace, std=None)
            if scale != "none":
                trace = replace(trace, steps=(RewardStep(f"group_{scale}", result.reward, reward),))
            if scaled_priors is not None:
                trace = replace(trace, inputs={**trace.inputs, "prior": scaled_priors[i]})
            normalised.append(RewardResult(reward, trace))
        return normalised

    def _compare(self, requests: Sequence[RewardRequest]) -> list[RewardResult]:
        """Win rates among the responses, for methods that compare."""
        self._comparison_began = time.monotonic()
        try:
            with self._one_thread(len(requests)):
                return self.inputs.add(requests, self.bundle.compare(requests))
        finally:
            self._comparison_began = None

    def _find(self, keys: Sequence[tuple[str | None, str]]) -> list[UserState]:
        with self._one_thread():
            return self.bundle.user_states.find(keys)

    @contextmanager
    def _one_thread(self, rows: int = 0) -> Iterator[None]:
        """Only one thread uses the bundle at a time, and none after the actor closed: it would start an engine again.

        `rows`: the number of rows of a call of the method, which is counted.
        """
        with self._bundle_lock:
            if self._closed:
                raise ScoreError("this reward actor is closed", kind="down")
            if rows:
                # The first bound that is not below `rows`: bounds of a Prometheus histogram are inclusive.
                at = bisect_left(SIZES, rows)
                self.sizes[str(SIZES[at]) if at < len(SIZES) else "more"] += 1
                self.sizes["rows"] += rows
            yield

    def _comparing(self) -> float:
        """Seconds since a comparison began that has not ended; 0 without one."""
        began = self._comparison_began
        return 0.0 if began is None else time.monotonic() - began

    def _finish(
        self, request: RewardRequest, result: RewardResult, group_metrics: Mapping[str, float]
    ) -> RewardResult:
        """The reward that is given: after post-processing, which counts this sample in its statistics."""
        trace = result.trace
        # An erasure covers the statistics as well: those from before it must not outlive it.
        if trace.status == "erased" and trace.user is not None:
            self.postprocess.forget(trace.user)
        self._forget_erased()
        result = self.postprocess.apply(result, _computation(request))
        self.statistics.save_if_due()
        scored = self.bundle.reader.read(request)
        metrics = {**self.metrics.of(scored, result), **result.trace.metrics, **group_metrics}
        if self.bundle.file.strip_think:
            metrics[f"{PREFIX}think"] = float(scored.response != request.response)
        if self.bundle.file.profiles is not None:
            metrics[f"{PREFIX}erased"] = float(trace.status == "erased")
        # Equal requests share one computation, so the id belongs to the request and not to the computation.
        trace = replace(result.trace, request_id=request.request_id, metrics=metrics)
        return RewardResult(result.reward, trace)

    def _forget_erased(self) -> None:
        """Remove the users who were erased since the last call from the statistics, in memory and on disk."""
        if erased := self.bundle.user_states.take_erased():
            self.statistics.forget(erased)

    def _record(self, request: RewardRequest, result: RewardResult, seconds: float) -> None:
        """Count the sample, and write its log line."""
        self.counts["scored"] += 1
        self.counts["cold"] += not result.trace.user_known
        self.counts["erased"] += result.status == "erased"
        self.counts["bad_label"] += request.bad_label
        empty = not self.bundle.reader.response(request.response).strip()
        self.reward_log.write(request, result, seconds, empty=empty)


def _tokens(request: RewardRequest) -> int:
    """An estimate of the tokens, at four characters each."""
    return (len(request.prompt_text) + len(request.response)) // 4 + 1


def _computation(request: RewardRequest) -> tuple[str | None, Prompt, str, bool]:
    """Requests that are equal in these are computed once."""
    return request.user, request.prompt, request.response, request.finished
