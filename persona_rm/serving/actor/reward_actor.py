"""What runs inside a reward actor: the bundle, a micro-batcher in front of it, post-processing, and the log.

Where no inference actor runs it also says what a person prefers (`profile`): it holds the same people, and reads the
same store.
"""

import asyncio
import json
import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from persona_rm.bundle import Bundle, Known, ScoredResponse, Scorers, load_bundle
from persona_rm.errors import ErrorKind, Late, ScoreError
from persona_rm.serving.actor.batcher import MicroBatcher
from persona_rm.serving.actor.group_buffer import NORMALISE, GroupBuffer, win_rates
from persona_rm.serving.curves import PREFIX, UNKNOWN, Ask, Curves, Reply
from persona_rm.serving.postprocess import Postprocessor, Raw
from persona_rm.types import Score, Status

LOG_FOLDER, STATISTICS = "rewards", "postprocess"
MOST_TOKENS = 65_536
"""Of one batch, estimated; the backends cut their own batches."""
KEEP = 60.0
"""Seconds between two savings of the running statistics."""
PATIENCE = 1.0
"""Seconds that closing waits for what is scored now."""
OUTCOMES = ("scored", "shared", "late", "left", "full", "failed")
"""What became of the rows that were asked for. Shared: computed once with an equal one, and scored too. Left: given up
by who asked. Full: there was no room."""
_LOST: Mapping[ErrorKind, str] = {"late": "late", "group": "late", "busy": "full"}
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
"""Upper bounds of the histogram of batch sizes; what is larger is "more"."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What the policy is told about a person: directions in words ("" for a stranger) and the whole prompt."""

    text: str
    prompt: str
    user_known: bool
    version: int = 0
    """Of the state in the profile store; 0 without one."""
    status: Literal["ok", "cold", "erased"] = "ok"


def profile_of(bundle: Bundle, known: Known, prompt: str) -> Profile:
    """What is known, in words and in front of `prompt`."""
    text, whole = bundle.profile_of(known), bundle.render_of(known, prompt)
    return Profile(text, whole, known.user_known, known.version, known.status)


class RewardActor:
    """A plain class; `pool.start_pool` makes a Ray actor of it. A restart loads the bundle again and goes on."""

    def __init__(
        self, bundle: str, name: str, run_dir: str | None = None, max_rows: int = 64, max_wait: float = 0.003
    ) -> None:
        self.name, self.bundle = name, load_bundle(bundle)
        self.curves = Curves(self.bundle.groups, self.bundle.log_dims)
        self.scorers, self.postprocess = Scorers(self.bundle), Postprocessor(self.bundle.file.postprocess)
        self.scorers.check()
        self.batcher: MicroBatcher[Ask, ScoredResponse] = MicroBatcher(
            self._score, max_rows, max_wait, cost=_tokens, max_cost=MOST_TOKENS, same=_request,
            group=lambda ask: (ask.user, ask.prompt),
        )  # fmt: skip
        config = self.bundle.file.groups
        self.together: GroupBuffer[Ask, ScoredResponse] | None = (
            GroupBuffer.of(config, self._group) if config else None
        )
        self.finder: MicroBatcher[tuple[str | None, str], Known] = MicroBatcher(self._find, max_rows, max_wait)
        self._alone, self._closed = Lock(), False
        self._compared: float | None = None
        self.counts: Counter[str] = Counter()
        self.sizes = dict.fromkeys([*map(str, SIZES), "more", "rows"], 0)
        """Calls of the method by how many rows each had, and their rows in all."""
        self.log: Path | None = Path(run_dir) / LOG_FOLDER / f"{name}.jsonl" if run_dir else None
        self._statistics = Path(run_dir) / STATISTICS / f"{name}.json" if run_dir else None
        self._kept = time.monotonic()
        if self.log is not None:
            self.log.parent.mkdir(parents=True, exist_ok=True)
        if self._statistics is not None and self.postprocess.config.on and self._statistics.is_file():
            self.postprocess.load(self._statistics)

    async def score(self, ask: Ask, *, caller: str = "", deadline: float | None = None) -> Reply:
        """One reward. Raises what the method raised for this row; other rows of its batch are not touched. Where the
        bundle has groups, it waits for the other samples of this person's prompt. `caller`: who asks, so that one who
        floods does not starve the others. After `deadline` seconds it raises `Late`."""
        started = time.perf_counter()
        try:
            scored, more = await self._scored(ask, caller, deadline)
            reply = self._reply(ask, scored, more)
        except asyncio.CancelledError:
            self.counts["left"] += 1
            raise
        except Exception as error:
            self.counts[_LOST.get(error.kind, "failed") if isinstance(error, ScoreError) else "failed"] += 1
            raise
        self._record(ask, reply, scored.known, time.perf_counter() - started)
        return reply

    async def profile(self, user: str | None, prompt: str) -> Profile:
        """The person's directions in words and `prompt` as the policy shall read it."""
        known = await self.finder.submit((user, prompt))
        self.counts["profiles"] += 1
        return profile_of(self.bundle, known, prompt)

    async def info(self) -> dict[str, Any]:
        """What is served, and the counters since this process started."""
        sizes = self.batcher.sizes
        return {
            "name": self.name,
            "pid": os.getpid(),
            "bundle": str(self.bundle.folder),
            "method": self.bundle.method.name,
            "users": len(self.bundle.users),
            "groups": self.bundle.groups,
            "counts": dict(self.counts),
            "rows": {name: self.counts[name] for name in OUTCOMES} | {"shared": self.batcher.counts["shared"]},
            "batches": dict(self.sizes),
            "engine": self.scorers.engine(),
            "waiting": self.batcher.waiting + self.batcher.outside,
            "stuck": max(self.batcher.stuck, self._comparing()),
            "batcher": dict(self.batcher.counts),
            "mean_batch": sum(sizes) / len(sizes) if sizes else 0.0,
        }

    async def warm(self) -> float:
        """Load the models by scoring one sentence for a stranger: a set-up that cannot score fails here, before
        training."""
        ask = Ask(None, "How are you? ", "I am well.")
        if self.bundle.file.groups is not None and self.bundle.file.groups.listwise:
            scored = (await asyncio.to_thread(self._compare, [ask, replace(ask, response="Well.")]))[0]
        else:
            scored = await self.batcher.submit(ask)
        reward, _ = Postprocessor(self.postprocess.config).apply(self._raw(ask, scored))
        return reward

    async def close(self) -> None:
        """Tell everybody who waits, and let go of engines and store. Who comes later gets a `ScoreError` too."""
        for one in (self.batcher, self.finder, self.together):
            if one is not None:
                one.close()
        await asyncio.to_thread(self._let_go)

    def __ray_shutdown__(self) -> None:
        """Ray's last call to an actor that ends by SIGTERM or leaves by itself, not to one that is killed."""
        self._let_go()

    def _let_go(self) -> None:
        """After what is scored now, or in the middle of it where that takes long: it may hang."""
        self._closed = True
        alone = self._alone.acquire(timeout=PATIENCE)
        try:
            self.bundle.close()
        finally:
            if alone:
                self._alone.release()

    async def _scored(self, ask: Ask, caller: str, deadline: float | None) -> tuple[ScoredResponse, dict[str, float]]:
        """With the logs of its group, where there are groups."""
        if self.together is None or self.bundle.file.groups is None:
            return await self.batcher.submit(ask, caller=caller, deadline=deadline), {}
        try:
            async with asyncio.timeout(deadline) as patience:
                key = ask.user, ask.prompt, ask.group
                done = await self.together.submit(key, self.bundle.file.groups.size, ask)
        except TimeoutError as error:
            if not patience.expired():
                raise
            raise Late(f"no reward of its group within {deadline} s") from error
        return done.result, done.logs

    def _score(self, asks: Sequence[Ask]) -> list[ScoredResponse]:
        with self._turn(len(asks)):
            return self.scorers.score([(ask.user, ask.prompt, ask.response) for ask in asks])

    async def _group(self, asks: Sequence[Ask]) -> list[ScoredResponse]:
        """The samples of one prompt: their rewards, and those of the prior, on the group's scale."""
        config = self.bundle.file.groups
        if config is not None and config.listwise:
            found = await asyncio.to_thread(self._compare, asks)
        else:
            found = list(await asyncio.gather(*map(self.batcher.submit, asks)))
        scale = NORMALISE[config.normalise if config is not None else "none"]
        rewards = scale([one.score.rewards[0] for one in found])
        priors = [one.prior for one in found if one.prior is not None]
        scaled = scale(priors) if len(priors) == len(found) else [None] * len(found)
        return [
            replace(one, score=replace(one.score, rewards=(reward,), std=None), prior=prior)
            for one, reward, prior in zip(found, rewards, scaled, strict=True)
        ]

    def _compare(self, asks: Sequence[Ask]) -> list[ScoredResponse]:
        """Win rates among the responses, for methods that compare."""
        first = asks[0]
        self._compared = time.monotonic()
        try:
            with self._turn(len(asks)):
                found = self.scorers.compare(first.user, first.prompt, [ask.response for ask in asks])
        finally:
            self._compared = None
        rates = [win_rates(matrix) for matrix in found.matrices]
        rewards, priors = rates[0], rates[1] if len(rates) > 1 else [None] * len(asks)
        status: Status = "ok" if found.known.user_known else "cold"
        return [
            replace(row, score=Score((reward,), status), prior=prior)
            for row, reward, prior in zip(found.rows, rewards, priors, strict=True)
        ]

    def _find(self, asked: Sequence[tuple[str | None, str]]) -> list[Known]:
        with self._turn():
            return self.bundle.user_states.find(asked)

    @contextmanager
    def _turn(self, rows: int = 0) -> Iterator[None]:
        """One thread at a time, and none once the actor is closed: it would start an engine again. `rows`: of a call
        of the method, which are counted."""
        with self._alone:
            if self._closed:
                raise ScoreError("this reward actor is closed", kind="down")
            if rows:
                at = bisect_left(SIZES, rows)
                self.sizes[str(SIZES[at]) if at < len(SIZES) else "more"] += 1
                self.sizes["rows"] += rows
            yield

    def _comparing(self) -> float:
        """Seconds since a comparison began that has not ended; 0 without one."""
        began = self._compared
        return 0.0 if began is None else time.monotonic() - began

    def _raw(self, ask: Ask, scored: ScoredResponse) -> Raw:
        known, score = scored.known, scored.score
        return Raw(
            score.rewards[0], ask.user if known.user_known else None, self.bundle.group_of(known) or UNKNOWN,
            known.n_items, score.std[0] if score.std else None, scored.prior, scored.universal, scored.safety,
            scored.length,
        )  # fmt: skip

    def _reply(self, ask: Ask, scored: ScoredResponse, more: dict[str, float]) -> Reply:
        """The reward that is given: after postprocess, which counts this sample."""
        known, score = scored.known, scored.score
        if known.status == "erased" and known.user is not None:
            self.postprocess.forget(known.user)
        raw = self._raw(ask, scored)
        reward, steps = self.postprocess.apply(raw)
        self._keep()
        group, dims = raw.group or UNKNOWN, {name: values[0] for name, values in score.dims.items()}
        logs = {**self.curves.logs(ask, reward, dims, known.user_known, group), **steps, **more}
        if self.bundle.file.profiles is not None:
            logs[f"{PREFIX}erased"] = float(known.status == "erased")
        return Reply(reward, dims, score.status, known.user_known, group, logs)

    def _keep(self) -> None:
        """Save the running statistics now and then, so that a restarted actor does not begin with none."""
        if self._statistics is None or not self.postprocess.config.on or time.monotonic() - self._kept < KEEP:
            return
        self._kept = time.monotonic()
        self.postprocess.save(self._statistics)

    def _record(self, ask: Ask, reply: Reply, known: Known, seconds: float) -> None:
        """Who, what and how long, without the texts."""
        self.counts["scored"] += 1
        self.counts["cold"] += not reply.user_known
        self.counts["erased"] += known.status == "erased"
        self.counts["bad_label"] += ask.bad_label
        if self.log is None:
            return
        row = {
            "time": round(time.time(), 3),
            "user": ask.user,
            "group": reply.group,
            "reward": reply.reward,
            "dims": {name: value for name, value in reply.dims.items() if value},
            "status": reply.status,
            "version": known.version,
            "erased": known.status == "erased",
            "bad_label": ask.bad_label,
            "empty": not ask.response.strip(),
            "ms": round(1000 * seconds, 2),
        }
        with self.log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _tokens(ask: Ask) -> int:
    """About how many: four letters each."""
    return (len(ask.prompt) + len(ask.response)) // 4 + 1


def _request(ask: Ask) -> tuple[str | None, str, str]:
    return ask.user, ask.prompt, ask.response
