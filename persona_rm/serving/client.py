"""What a plugin calls: a reward or an error, never a made-up number.

A person keeps to one actor (`routing`). Where it does not answer, or has no room, the next of their order is asked at
once, and when all were asked, all again with growing pauses, until a deadline. Actors that died are restarted
meanwhile. An error of the method itself (a response too long, NaN) is not repeated: it would come again.
"""

import logging
import math
import os
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from numbers import Real
from pathlib import Path
from typing import Any, Protocol

from persona_rm.bundle import Known
from persona_rm.errors import ErrorKind, HostError, PersonaRMError, ScoreError
from persona_rm.extras import extra_needed
from persona_rm.serving.actor.reward_actor import Profile
from persona_rm.serving.curves import Ask, Reply
from persona_rm.serving.failures import Failures, OnFailure, read_policy
from persona_rm.serving.pool.named_actor import ready_names
from persona_rm.serving.pool.pool import NAMESPACE, inference_name, pool_names
from persona_rm.serving.pool.routing import Roster

logger = logging.getLogger(__name__)


PASSING: tuple[ErrorKind, ...] = ("busy", "down")
"""Kinds of errors that say something about an actor and nothing about the request: another may answer it."""


class Unreachable(Exception):
    """The actor did not answer; another try may succeed, so this is no error yet."""

    kind: ErrorKind = "down"


class Transport(Protocol):
    """How calls travel. Raises `Unreachable` where nobody answers, and `ScoreError` of the kind of the actor's own."""

    def names(self) -> list[str]: ...

    def inference(self) -> str | None: ...

    def call(self, name: str, method: str, args: tuple[Any, ...], timeout: float) -> Any: ...


class RayTransport:
    """Named actors of the cluster that this process belongs to."""

    def __init__(self, namespace: str = NAMESPACE) -> None:
        self.namespace = namespace
        self._handles: dict[str, Any] = {}

    def names(self) -> list[str]:
        """The reward actors that can score now, as the supervisor knows; else all that live."""
        from ray.exceptions import RayError

        _connect()
        try:
            return ready_names(self.namespace) or pool_names(self.namespace)
        except (RayError, ConnectionError, RuntimeError) as error:
            logger.warning("persona_rm: the cluster did not say which actors live (%s)", type(error).__name__)
            return []

    def inference(self) -> str | None:
        """The inference actor, where one lives now."""
        _connect()
        return inference_name(self.namespace)

    def call(self, name: str, method: str, args: tuple[Any, ...], timeout: float) -> Any:
        """One call, waited for. One that is given up is cancelled: it leaves the actor's queue."""
        import ray
        from ray.exceptions import GetTimeoutError, RayError, RayTaskError

        ref = None
        try:
            if name not in self._handles:
                self._handles[name] = ray.get_actor(name, namespace=self.namespace)
            ref = getattr(self._handles[name], method).remote(*args)
            return ray.get(ref, timeout=timeout)
        except RayTaskError as error:
            kind = error.cause.kind if isinstance(error.cause, ScoreError) else None
            raise ScoreError(f"{name} could not {method}: {_told(error)}", kind=kind) from error
        except (RayError, GetTimeoutError, ValueError) as error:
            self._handles.pop(name, None)
            if isinstance(error, GetTimeoutError) and ref is not None:
                with suppress(RayError, ValueError):
                    ray.cancel(ref)
            raise Unreachable(f"{name}: {type(error).__name__}") from error
        except Exception as error:
            raise ScoreError(f"{name} could not {method}: {type(error).__name__}") from error


class RewardClient:
    """Thread-safe: the host calls rewards from several threads at once."""

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

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "RewardClient":
        """The client that the environment describes, checked: actors answer, and serve the bundle that the job names.

        PERSONA_RM_BUNDLE the bundle, PERSONA_RM_NAMESPACE (persona_rm), PERSONA_RM_DEADLINE seconds (300),
        PERSONA_RM_ON_FAILURE stop or skip_group (stop). Raises `HostError`: a plugin calls this at import, where the
        host does not swallow it.
        """
        env = os.environ if environ is None else environ
        namespace = env.get("PERSONA_RM_NAMESPACE", NAMESPACE)
        deadline, policy = _seconds(env, "PERSONA_RM_DEADLINE"), read_policy(env.get("PERSONA_RM_ON_FAILURE", "stop"))
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
        reward, inference = (names, "the reward actors serve"), (self._inferring(), "the inference actor serves")
        for names, who in (reward, inference):
            served = self._ask("info", (), "", names)["bundle"] if names else bundle
            if Path(served).resolve() != Path(bundle).resolve():
                raise HostError(f"in namespace {namespace!r} {who} {served}, this job asks for {bundle}")

    def reward(
        self,
        user: str | None,
        prompt: str,
        response: str,
        *,
        bad_label: bool = False,
        group: str | None = None,
        deadline: float | None = None,
    ) -> Reply:
        """This person's reward for the response. `group`: samples of another one are not compared with it.
        `deadline`: seconds of this call; None: the client's. Raises `ScoreError` when there is none, or it is not a
        finite number; `SkipGroup`, one of them, where the policy allows to train without this sample."""
        ask = Ask(user, prompt, response, bad_label, group)
        try:
            reply: Reply = self._ask("score", (ask,), user or prompt, seconds=deadline)
            _check_finite(reply, user)
        except ScoreError as error:
            if (reason := self.failures.failed(error, (user, prompt))) is error:
                raise
            raise reason from error
        self.failures.passed((user, prompt))
        return reply

    def profile(self, user: str | None, prompt: str) -> Profile:
        """What this person prefers, and the prompt that tells the policy so: from the inference actor where one runs,
        else from the reward actors."""
        profile: Profile | None = self._ask("profile", (user, prompt), user or prompt, self._inferring())
        if profile is None:
            raise ScoreError(f"asked for the profile of user {user!r}, the actor answered nothing")
        return profile

    def directions(self, users: Sequence[str], prompt: str = "") -> list[Known]:
        """What each of these people prefers, for data jobs. Raises `HostError` where no inference actor runs."""
        if not (names := self._inferring()):
            raise HostError("no inference actor runs here: python -m persona_rm.serving start BUNDLE --inference")
        found: list[Known] = self._ask("directions", (list(users), prompt), "", names)
        return found

    def _inferring(self) -> list[str]:
        """The inference actor, looked up once: who it answered first, it answers to the end."""
        if self._inference is None:
            name = self.transport.inference()
            self._inference = [name] if name else []
        return self._inference

    def _ask(
        self, method: str, args: tuple[Any, ...], key: str, among: Sequence[str] = (), seconds: float | None = None
    ) -> Any:
        """Ask in the order of `key`, round after round. `among`: these actors, else the reward actors. `seconds`: so
        long, else the client's deadline."""
        seconds = self.deadline if seconds is None else seconds
        end = time.monotonic() + seconds
        attempt, last, kind = 0, "no actor is named", Unreachable.kind
        while attempt == 0 or time.monotonic() < end:
            if names := list(among) or self.roster.order(key):
                try:
                    return self._round(method, args, names, end)
                except (Unreachable, ScoreError) as error:
                    if error.kind not in PASSING:
                        raise
                    last, kind = str(error), error.kind
            pause = max(min(0.1 * 2 ** min(attempt, 6), 5.0, end - time.monotonic()), 0.0)
            logger.warning("persona_rm: %s; round %d of %s in %.1f s", last, attempt + 2, method, pause)
            self.wait(pause)
            attempt += 1
        who = "inference actor" if among and among == self._inference else "reward actor"
        raise ScoreError(f"no {who} answered {method} within {seconds:.0f} s; last: {last}", kind=kind)

    def _round(self, method: str, args: tuple[Any, ...], names: Sequence[str], end: float) -> Any:
        """The first answer. Raises what the last one asked raised.

        While others are left to ask, one gets half of the time that is left: it may hang. One without room answers at
        once, and stays first in the order of its people.
        """
        for others, name in zip(reversed(range(len(names))), names, strict=True):
            left = end - time.monotonic()
            try:
                answer = self.transport.call(name, method, args, max(left / 2 if others else left, 0.1))
            except (Unreachable, ScoreError) as error:
                if error.kind == "down":
                    self.roster.failed(name)
                if error.kind not in PASSING or not others or time.monotonic() >= end:
                    raise
            else:
                self.roster.answered(name)
                return answer
        raise Unreachable("no actor is named")


def _check_finite(reply: Any, user: str | None) -> None:
    reward = getattr(reply, "reward", None)
    if not isinstance(reward, Real):
        raise ScoreError(f"the reward of user {user!r} is {reward}, and no number")
    if not math.isfinite(reward):
        raise ScoreError(f"the reward of user {user!r} is {reward}", kind="not_finite")


def _told(error: Any) -> str:
    """What an actor's error says. One that is not ours may carry what a user wrote, so only its kind and place go on;
    the whole stands in the chain of the exception."""
    if isinstance(error.cause, PersonaRMError):
        return str(error.cause)
    places = re.findall(r'^\s+File "[^"\n]*?([\w.]+\.py)", line (\d+)', str(error), re.M)
    return type(error.cause).__name__ + (f" in {places[-1][0]}:{places[-1][1]}" if places else "")


def _seconds(env: Mapping[str, str], key: str, default: str = "300") -> float:
    text = env.get(key, default)
    try:
        seconds = float(text)
    except ValueError as error:
        raise HostError(f"{key} is {text!r}; it is a number of seconds, such as {default}") from error
    if not 0 < seconds < math.inf:
        raise HostError(f"{key} is {text!r}; it is a positive number of seconds")
    return seconds


def _connect() -> None:
    with extra_needed("asking reward actors", "train"):
        import ray

    if not ray.is_initialized():
        try:
            ray.init(address=os.environ.get("RAY_ADDRESS", "auto"), log_to_driver=False)
        except ConnectionError as error:
            raise HostError(
                f"this process is in no Ray cluster, and found none to ask for rewards: {error}"
            ) from error
