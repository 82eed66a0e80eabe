"""The inference actor: it holds the users of a bundle and the profile store.

It answers what a user prefers, and it writes what users do to the store. Reads that arrive together are answered by
one look-up and one computation (`batcher`). Writes are done one after the other, each from the state that is stored at
that moment, so a restarted actor continues where the last one stopped. Other processes may write to the same store:
each write is a compare-and-set on the version, so no update is lost. A write that fails changes nothing. A call may be
repeated after the actor died, because evidence that is already known makes no new version.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from threading import Lock
from typing import Any, TypeVar

from persona_rm.bundle import load_bundle
from persona_rm.errors import DataError
from persona_rm.inferrers.base import Evidence, StatefulInferrer
from persona_rm.inferrers.evidence import Item, check_votes
from persona_rm.inferrers.stored_answers import GRADES, is_grade
from persona_rm.profiles import ProfileStore
from persona_rm.prompts import text_of
from persona_rm.serving.actor.batcher import MicroBatcher
from persona_rm.serving.actor.reward_actor import Profile, profile_of
from persona_rm.types import Prompt, UserState

T = TypeVar("T")
ProfileKey = tuple[str | None, str]
Change = Callable[[Evidence], None]


class InferenceActor:
    """A plain class; `pool.start_inference` makes a Ray actor of it."""

    def __init__(self, bundle: str, name: str = "inference-0", max_rows: int = 64, max_wait: float = 0.002) -> None:
        self.name, self.bundle = name, load_bundle(bundle)
        self.batcher: MicroBatcher[Sequence[ProfileKey], list[UserState]] = MicroBatcher(
            self._find, max_rows, max_wait
        )
        self.counts: Counter[str] = Counter()
        # One thread: two writes never read the same version, and they take effect in the order of the calls.
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._bundle_lock = Lock()

    async def profile(self, user: str | None, prompt: Prompt) -> Profile:
        """The user's directions in words and `prompt` in the form that the policy reads.

        Raises `DataError` for a state that cannot be read, and `ScoreError` for a prompt that is too long.
        """
        self.bundle.reader.limits.check_prompt(prompt)
        (state,) = await self.batcher.submit([(user, text_of(self.bundle.reader.bare(prompt)))])
        self._count("profiles", [state])
        return profile_of(self.bundle, state, prompt)

    async def directions(self, users: Sequence[str], prompt: str = "") -> list[UserState]:
        """What each user prefers, in the given order, in one computation. Raises `DataError` naming the first user
        whose state cannot be read, and `ScoreError` for a prompt that is too long."""
        self.bundle.reader.limits.check_prompt(prompt)
        states = await self.batcher.submit([(user, prompt) for user in users])
        self._count("directions", states)
        return states

    async def observe(self, user: str, items: Sequence[Item], readmit: bool = False) -> int:
        """Add evidence; an item that is known already is not counted again. Returns the version that holds it.

        `readmit`: accept a user who was erased; no evidence from before counts. Raises `DataError` for an erased user,
        for items that do not fit the space, and if the store takes no writes.
        """
        votes = [check_votes(item.votes, f"user {user!r}, item {item.id}", len(self.bundle.space)) for item in items]
        checked = [Item(i.id, i.source, v, i.created) for i, v in zip(items, votes, strict=True)]
        return await self._write("observed", user, lambda tally: _add(tally, checked), readmit)

    async def answer(self, user: str, question_id: str, difference: Sequence[int], grade: int) -> int:
        """Keep the answer, -2 .. 2, to a question (`inferrers.ask.Question`). The last answer to a question counts.
        Returns the version."""
        if not is_grade(grade):
            raise DataError(f"an answer is one of {sorted(GRADES)}, found {grade!r}; nothing was written")
        return await self._write("answered", user, lambda tally: tally.hear(question_id, difference, grade))

    async def forget(self, user: str, ids: Sequence[str]) -> int:
        """Remove these items and answers from the state. Returns the version; raises `DataError` for an unknown id."""
        return await self._write("forgotten", user, lambda tally: tally.forget(ids))

    async def erase(self, user: str) -> bool:
        """Remove the user's state for good; from now on the user is unknown, whatever users.jsonl says.

        Returns True if there was a state. The line in users.jsonl stays until its author removes it.
        """
        return await self._run_exclusively(lambda: self._erase(user))

    async def export(self, user: str) -> dict[str, Any]:
        """Everything that is held about a user, for the user: state, line of users.jsonl, and the directions.

        Raises `DataError` for an unknown user.
        """
        return await self._run_exclusively(lambda: self._export(user))

    async def info(self) -> dict[str, Any]:
        """What the actor serves, and its counters since this process started."""
        sizes, inferrer, store = self.batcher.sizes, self.bundle.inferrer, self.bundle.store
        return {
            "name": self.name,
            "bundle": str(self.bundle.folder),
            "inferrer": inferrer.name if inferrer is not None else None,
            "profiles": store.where if store is not None else None,
            "users": len(self.bundle.users),
            "cached": len(self.bundle.user_states),
            "computed": self.bundle.user_states.computed,
            "counts": dict(self.counts),
            "mean_batch": sum(sizes) / len(sizes) if sizes else 0.0,
        }

    async def warm(self) -> int:
        """Load the inferrer: a set-up that cannot infer fails here. Returns the number of dimensions."""
        (state,) = await self.batcher.submit([(None, "")])
        return len(state.probabilities)

    async def close(self) -> None:
        """Fail every call that waits, and close the store after the writes that were requested before."""
        self.batcher.close()
        await self._run_exclusively(self.bundle.close)

    def _find(self, calls: Sequence[Sequence[ProfileKey]]) -> list[list[UserState]]:
        """The states that each call asks for, in one look-up."""
        with self._bundle_lock:
            # Flattened for one look-up, and dealt out again below by the length of each call.
            states = iter(self.bundle.user_states.find([key for keys in calls for key in keys]))
        return [[next(states) for _ in keys] for keys in calls]

    def _count(self, what: str, states: Iterable[UserState]) -> None:
        for state in states:
            self.counts[what] += 1
            if state.status != "ok":
                self.counts[state.status] += 1

    async def _write(self, what: str, user: str, change: Change, readmit: bool = False) -> int:
        version = await self._run_exclusively(lambda: self._changed(user, change, readmit))
        self.counts[what] += 1
        return version

    async def _run_exclusively(self, work: Callable[[], T]) -> T:
        """Run `work` in the writer thread, one call after the other, and not while reads are computed."""

        def run() -> T:
            with self._bundle_lock:
                return work()

        return await asyncio.get_running_loop().run_in_executor(self._writer, run)

    def _changed(self, user: str, change: Change, readmit: bool) -> int:
        """The version after `change`, which is made again if another process has changed the state meanwhile."""
        # Asked first: an inferrer that keeps no evidence is the reason that is told, and not a missing store.
        inferrer, store = self.bundle.user_states.stateful, self._store()
        return store.retry_stale(lambda: self._change_once(inferrer, store, user, change, readmit))

    def _change_once(
        self, inferrer: StatefulInferrer[Any], store: ProfileStore, user: str, change: Change, readmit: bool
    ) -> int:
        """The directions are computed before the state is stored: a state that cannot be read is never written."""
        users = self.bundle.user_states
        tally, version = users.tally(user)
        # The tally is changed in place, so its content is kept to see whether anything changed: without a change there
        # is no new version.
        before = tally.to_payload()
        change(tally)
        if before == tally.to_payload():
            return version
        state = users.state(user, tally, version + 1)
        store.put([inferrer.state(user, tally, state.version)], readmit=readmit, read={user: version})
        # Kept only after the store has taken it: reads never see a state that was not written.
        users.keep(state)
        return state.version

    def _erase(self, user: str) -> bool:
        store = self._store()
        try:
            existed = store.erase([user]) > 0
        finally:
            # Also after an error: the store may have erased the user before it failed.
            self.bundle.user_states.drop(user)
        self.counts["erasures"] += 1
        return existed

    def _export(self, user: str) -> dict[str, Any]:
        bundle = self.bundle
        stored, dates = bundle.store.look([user]) if bundle.store is not None else ({}, {})
        if user not in stored and user not in dates and user not in bundle.users:
            raise DataError(f"user {user!r} is unknown: neither the bundle's users file nor the store has this user")
        directions = bundle.user_states.find([(user, "")])[0].directions or ()
        return {
            "user_id": user,
            "erased": dates.get(user),
            "state": json.loads(stored[user].to_json()) if user in stored else None,
            "users_file": asdict(bundle.users[user]) if user in bundle.users else None,
            "directions": {bundle.space.ids[i]: d for i, d in enumerate(directions) if d},
        }

    def _store(self) -> ProfileStore:
        if self.bundle.store is not None:
            return self.bundle.store
        problem = "this bundle names no profile store, so evidence cannot be kept"
        where = self.bundle.folder / "bundle.yaml"
        raise DataError(f"{problem}: set it to the URL of a store, such as sqlite:PATH", file=where, key="profiles")


def _add(tally: Evidence, items: Sequence[Item]) -> None:
    tally.add(items)
