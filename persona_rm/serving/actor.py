"""What runs inside a reward actor: the bundle, a micro-batcher before it, a line of log for every sample.

Where no inference actor runs it also says what a person prefers (`profile`): it holds the same people, and reads the
same store.
"""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any, Literal

from persona_rm.bundle import Bundle, Known, load_bundle
from persona_rm.serving.batcher import MicroBatcher
from persona_rm.serving.replies import PREFIX, UNKNOWN, Ask, Curves, Reply
from persona_rm.types import Score

LOG_FOLDER = "rewards"


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
        self, bundle: str, name: str, run_dir: str | None = None, max_rows: int = 32, max_wait: float = 0.01
    ) -> None:
        self.name, self.bundle = name, load_bundle(bundle)
        self.curves = Curves(self.bundle.groups, self.bundle.log_dims)
        self.batcher: MicroBatcher[Ask, tuple[Known, Score]] = MicroBatcher(self._score, max_rows, max_wait)
        self.finder: MicroBatcher[tuple[str | None, str], Known] = MicroBatcher(self._find, max_rows, max_wait)
        self._alone = Lock()
        self.counts: Counter[str] = Counter()
        self.log: Path | None = Path(run_dir) / LOG_FOLDER / f"{name}.jsonl" if run_dir else None
        if self.log is not None:
            self.log.parent.mkdir(parents=True, exist_ok=True)

    async def score(self, ask: Ask) -> Reply:
        """One reward. Raises what the method raised for this row; other rows of its batch are not touched."""
        started = time.perf_counter()
        try:
            known, score = await self.batcher.submit(ask)
        except Exception:
            self.counts["failed"] += 1
            raise
        reply = self._reply(ask, known, score)
        self._record(ask, reply, known, time.perf_counter() - started)
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
            "bundle": str(self.bundle.folder),
            "method": self.bundle.method.name,
            "users": len(self.bundle.users),
            "groups": self.bundle.groups,
            "counts": dict(self.counts),
            "mean_batch": sum(sizes) / len(sizes) if sizes else 0.0,
        }

    async def warm(self) -> float:
        """Load the models by scoring one sentence for a stranger: a set-up that cannot score fails here, before
        training."""
        _, score = await self.batcher.submit(Ask(None, "How are you? ", "I am well."))
        return score.rewards[0]

    def _score(self, asks: Sequence[Ask]) -> list[tuple[Known, Score]]:
        with self._alone:
            return self.bundle.score_known([(ask.user, ask.prompt, ask.response) for ask in asks])

    def _find(self, asked: Sequence[tuple[str | None, str]]) -> list[Known]:
        with self._alone:
            return self.bundle.people.find(asked)

    def _reply(self, ask: Ask, known: Known, score: Score) -> Reply:
        group = self.bundle.group_of(known) or UNKNOWN
        dims = {name: values[0] for name, values in score.dims.items()}
        logs = self.curves.logs(ask, score.rewards[0], dims, known.user_known, group)
        if self.bundle.file.profiles is not None:
            logs[f"{PREFIX}erased"] = float(known.status == "erased")
        return Reply(score.rewards[0], dims, score.status, known.user_known, group, logs)

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
