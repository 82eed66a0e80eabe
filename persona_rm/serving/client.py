"""What a plugin calls: it returns a reward or raises an error, and never invents a number.

Every user is routed to one actor (`routing`). If that actor does not answer, or has no room, the next one in the
user's order is asked at once; after the last one, all are retried with growing pauses until the deadline. Actors
that died are restarted meanwhile. An error of the method itself (a response too long, NaN) is not retried, because it
would occur again.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Real
from pathlib import Path
from typing import Any

from persona_rm.errors import ErrorKind, HostError, ScoreError
from persona_rm.prompts import text_of
from persona_rm.serving.actor.reward_actor import Profile
from persona_rm.serving.failures import Failures, OnFailure, read_policy
from persona_rm.serving.pool.pool import NAMESPACE
from persona_rm.serving.pool.routing import Roster
from persona_rm.serving.ray_transport import RayTransport, Transport, Unreachable
from persona_rm.serving.request_ids import with_id
from persona_rm.types import Prompt, RewardRequest, RewardResult, UserState

logger = logging.getLogger(__name__)


RETRIED: tuple[ErrorKind, ...] = ("busy", "down")
"""Kinds of errors that concern an actor and not the request, so another actor may answer it."""
RETRY_NOTED = 30.0
"""Seconds between two log lines about retries."""


class RewardClient:
    """Asks reward actors for rewards. Thread-safe: the host calls from several threads at once."""

    def __init__(
        self,
        transport: Transport,
        *,
        deadline: float = 300,
        wait: Callable[[float], None] = time.sleep,
        on_failure: OnFailure = "stop",
    ) -> None:
        self.transport, self.deadline, self.wait = transport, deadline, wait
        self.failures = Failures(on_failure)
        self.roster = Roster(transport.names)
        self._inference: list[str] | None = None
        self._retry_noted = -math.inf

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "RewardClient":
        """The client that the environment describes. It is checked that actors answer and serve the job's bundle.

        PERSONA_RM_BUNDLE the bundle, PERSONA_RM_NAMESPACE (persona_rm), PERSONA_RM_DEADLINE seconds (300),
        PERSONA_RM_ON_FAILURE stop or skip_group (stop). Raises `HostError`: a plugin calls this at import, when the
        host does not catch it.
        """
        env = os.environ if environ is None else environ
        namespace = env.get("PERSONA_RM_NAMESPACE", NAMESPACE)
        deadline, policy = read_deadline(env), read_policy(env.get("PERSONA_RM_ON_FAILURE", "stop"))
        client = cls(RayTransport(namespace), deadline=deadline, on_failure=policy)
        client.check(env.get("PERSONA_RM_BUNDLE"), namespace)
        return client

    def check(self, bundle: str | None, namespace: str = NAMESPACE) -> None:
        """Raises `HostError` unless actors live in the namespace and serve `bundle`."""
        if not bundle:
            raise HostError(
                "PERSONA_RM_BUNDLE does not say which reward bundle this job uses. On a cluster that was started "
                "before, your shell's variables do not reach the rollout actors: put it into runtime_env env_vars"
            )
        names = self.roster.names()
        if not names:
            raise HostError(
                f"no reward actors in namespace {namespace!r} of this Ray cluster: start them there before the host "
                f"takes its resources: python -m persona_rm.serving start {bundle}"
            )
        # Both kinds of actors: an inference actor of another job would describe other users to the policy.
        reward, inference = (names, "the reward actors serve"), (self._inference_names(), "the inference actor serves")
        for names, who in (reward, inference):
            info = self._call("info", (), "", names) if names else {"bundle": bundle}
            self.failures.take_log_ids(info)
            if Path(served := info["bundle"]).resolve() != Path(bundle).resolve():
                raise HostError(f"in namespace {namespace!r} {who} {served}, this job asks for {bundle}")

    def reward(self, request: RewardRequest, *, deadline: float | None = None) -> RewardResult:
        """`rewards` of a single request."""
        return self.rewards([request], deadline=deadline)[0]

    def rewards(self, requests: Sequence[RewardRequest], *, deadline: float | None = None) -> list[RewardResult]:
        """One result per request, in the same order. A request without an id gets one.

        `deadline`: seconds for the whole batch; None: the client's. The requests of one actor travel in one call.
        Raises `ScoreError` with the positions that failed if a reward is missing or is not a finite number; it is
        `SkipGroup` if the failure policy allows training without these samples.
        """
        requests = [with_id(request) for request in requests]
        seconds = self.deadline if deadline is None else deadline
        parts: dict[str, list[int]] = {}
        for i, request in enumerate(requests):
            # Only to group requests by actor. `_call` finds the order again, because names may change between its
            # tries.
            order = self.roster.order(_key(request)) if len(requests) > 1 else ()
            parts.setdefault(order[0] if order else "", []).append(i)

        def call(rows: list[int]) -> list[RewardResult]:
            return self._part(requests, rows, seconds)

        if len(parts) > 1:
            # A thread for each actor, because a call blocks until its answer is there.
            with ThreadPoolExecutor(len(parts), thread_name_prefix="persona_rm_batch") as threads:
                answers = list(threads.map(call, parts.values()))
        else:
            answers = [call(rows) for rows in parts.values()]
        results: dict[int, RewardResult] = {}
        for rows, answer in zip(parts.values(), answers, strict=True):
            results |= zip(rows, answer, strict=True)
        return [results[i] for i in range(len(requests))]

    def _part(self, requests: Sequence[RewardRequest], rows: Sequence[int], seconds: float) -> list[RewardResult]:
        """The results of these rows, which go to one actor. Raises `ScoreError` with positions in `requests`."""
        part = [requests[i] for i in rows]
        try:
            results: list[RewardResult] = self._call("score_batch", (part,), _key(part[0]), seconds=seconds)
            _check_finite(results, part)
        except ScoreError as error:
            # An error that names no rows concerns all of them. Its positions are those of the part; the caller needs
            # those of its batch.
            failed = set(error.rows) or set(range(len(part)))
            placed = error if len(requests) == 1 else error.at(*(rows[i] for i in sorted(failed)))
            reason = placed
            # The other rows were scored, so they count as passed, although the error hides their rewards from the
            # caller.
            for i, request in enumerate(part):
                if i in failed:
                    reason = self.failures.failed(placed, (request.user, request.prompt))
                else:
                    self.failures.passed((request.user, request.prompt))
            if reason is error:
                raise
            raise reason from error
        for request in part:
            self.failures.passed((request.user, request.prompt))
        return results

    def some_users(self) -> list[str]:
        """A few user ids of the bundle that the reward actors serve, for messages."""
        return list(self._call("info", (), "")["some_users"])

    def profile(self, user: str | None, prompt: Prompt) -> Profile:
        """What this user prefers, and the prompt with it that the policy reads.

        The inference actor answers if one runs, else a reward actor.
        """
        profile: Profile | None = self._call(
            "profile", (user, prompt), user or text_of(prompt), self._inference_names()
        )
        if profile is None:
            raise ScoreError(f"asked for the profile of user {user!r}, the actor answered nothing")
        return profile

    def directions(self, users: Sequence[str], prompt: str = "") -> list[UserState]:
        """What each of these users prefers, for data jobs. Raises `HostError` if no inference actor runs."""
        if not (names := self._inference_names()):
            raise HostError("no inference actor runs here: python -m persona_rm.serving start BUNDLE --inference")
        states: list[UserState] = self._call("directions", (list(users), prompt), "", names)
        return states

    def _inference_names(self) -> list[str]:
        """The inference actor, which is looked up once, so that the same kind of actor answers for all users."""
        if self._inference is None:
            name = self.transport.inference()
            self._inference = [name] if name else []
        return self._inference

    def _call(
        self, method: str, args: tuple[Any, ...], key: str, among: Sequence[str] = (), seconds: float | None = None
    ) -> Any:
        """Call `method` of an actor in the order of `key`, and retry until `seconds` (None: the client's deadline) are
        over. `among`: these actors; empty: the reward actors."""
        seconds = self.deadline if seconds is None else seconds
        end = time.monotonic() + seconds
        given = list(args)
        attempt, last, kind = 0, "no actor is named", Unreachable.kind
        # There is at least one attempt, however short the deadline is.
        while attempt == 0 or time.monotonic() < end:
            if names := list(among) or self.roster.order(key):
                try:
                    return self._try_all(method, given, names, end)
                except (Unreachable, ScoreError) as error:
                    if error.kind not in RETRIED:
                        raise
                    last, kind = str(error), error.kind
            # 0.1 s, doubled up to 5 s; the last pause ends at the deadline.
            pause = max(min(0.1 * 2 ** min(attempt, 6), 5.0, end - time.monotonic()), 0.0)
            self._note_retry(self.failures.log_ids.hide(last), method)
            self.wait(pause)
            attempt += 1
        who = "inference actor" if among and among == self._inference else "reward actor"
        raise ScoreError(f"no {who} answered {method} within {seconds:.0f} s; last: {last}", kind=kind)

    def _note_retry(self, last: str, method: str) -> None:
        """One line in a while: many callers wait for the same actors, each with retries of its own."""
        now = time.monotonic()
        if now >= self._retry_noted + RETRY_NOTED:
            self._retry_noted = now
            logger.warning("persona_rm: no actor answers, %s is retried until its deadline; last: %s", method, last)

    def _try_all(self, method: str, args: list[Any], names: Sequence[str], end: float) -> Any:
        """The first answer. Raises what the last actor raised.

        While other actors remain, one gets only half of the remaining time, because it may hang. An actor without room
        answers at once, and stays first in the order of its users.
        """
        for others, name in zip(reversed(range(len(names))), names, strict=True):
            left = end - time.monotonic()
            try:
                # Never less than a tenth of a second, in which an idle actor can still answer.
                answer = self.transport.call(name, method, tuple(args), max(left / 2 if others else left, 0.1))
            except (Unreachable, ScoreError) as error:
                if error.kind == "down" and self.roster.failed(name):
                    problem = self.failures.log_ids.hide(str(error))
                    logger.warning("persona_rm: %s; others answer its calls until it is back", problem)
                if method == "score_batch" and isinstance(error, Unreachable):
                    # Perhaps one of these requests has ended the actor: the next one scores each alone.
                    args[1:] = [True]
                if error.kind not in RETRIED or not others or time.monotonic() >= end:
                    raise
            else:
                self.roster.answered(name)
                return answer
        raise Unreachable("no actor is named")


def _key(request: RewardRequest) -> str:
    """What a request is routed by: all samples of a user, or of a prompt without a user, go to one actor."""
    return request.user or request.prompt_text


def _check_finite(results: Sequence[Any] | None, requests: Sequence[RewardRequest]) -> None:
    """Raises `ScoreError` with the first row whose reward is not a finite number."""
    if results is None or len(results) != len(requests):
        given = "no" if results is None else len(results)
        raise ScoreError(f"an actor gave {given} results for {len(requests)} requests")
    for i, (result, request) in enumerate(zip(results, requests, strict=True)):
        reward, row = getattr(result, "reward", None), (i,) if len(requests) > 1 else ()
        if not isinstance(reward, Real):
            raise ScoreError(f"the reward of user {request.user!r} is {reward}, which is not a number", row)
        if not math.isfinite(reward):
            raise ScoreError(f"the reward of user {request.user!r} is {reward}", row, "not_finite")


def read_deadline(env: Mapping[str, str]) -> float:
    """The seconds of PERSONA_RM_DEADLINE. Raises `HostError` for another text."""
    key, default = "PERSONA_RM_DEADLINE", "300"
    text = env.get(key, default)
    try:
        seconds = float(text)
    except ValueError as error:
        raise HostError(f"{key} is {text!r}; it is a number of seconds, such as {default}") from error
    if not 0 < seconds < math.inf:
        raise HostError(f"{key} is {text!r}; it is a positive number of seconds")
    return seconds
