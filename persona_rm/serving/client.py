"""What a plugin calls: a reward or an error, never a made-up number.

An actor that died is restarted by Ray; calls are repeated with growing pauses, on its neighbours too, until a
deadline. An error of the method itself (a response too long, NaN) is not repeated: it would come again.
"""

import logging
import math
import os
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from persona_rm.bundle import Known
from persona_rm.errors import HostError, PersonaRMError, ScoreError
from persona_rm.serving.actor import Profile
from persona_rm.serving.pool import NAMESPACE, inference_name, pool_names
from persona_rm.serving.replies import Ask, Reply

logger = logging.getLogger(__name__)


class Unreachable(Exception):
    """The actor did not answer; another try may succeed, so this is no error yet."""


class Transport(Protocol):
    """How calls travel. Raises `Unreachable` for what may pass and `PersonaRMError` for what will not."""

    def names(self) -> list[str]: ...

    def inference(self) -> str | None: ...

    def call(self, name: str, method: str, args: tuple[Any, ...], timeout: float) -> Any: ...


class RayTransport:
    """Named actors of the cluster that this process belongs to."""

    def __init__(self, namespace: str = NAMESPACE) -> None:
        self.namespace = namespace
        self._handles: dict[str, Any] = {}

    def names(self) -> list[str]:
        """The reward actors that live now."""
        _connect()
        return pool_names(self.namespace)

    def inference(self) -> str | None:
        """The inference actor, where one lives now."""
        _connect()
        return inference_name(self.namespace)

    def call(self, name: str, method: str, args: tuple[Any, ...], timeout: float) -> Any:
        """One call, waited for."""
        import ray
        from ray.exceptions import GetTimeoutError, RayError, RayTaskError

        try:
            if name not in self._handles:
                self._handles[name] = ray.get_actor(name, namespace=self.namespace)
            return ray.get(getattr(self._handles[name], method).remote(*args), timeout=timeout)
        except RayTaskError as error:
            cause = error.cause if isinstance(error.cause, PersonaRMError) else error
            raise ScoreError(f"{name} could not {method}: {cause}") from error
        except (RayError, GetTimeoutError, ValueError) as error:
            self._handles.pop(name, None)
            raise Unreachable(f"{name}: {type(error).__name__}") from error


class RewardClient:
    """Thread-safe: the host calls rewards from several threads at once."""

    def __init__(
        self, transport: Transport, *, deadline: float = 300, wait: Callable[[float], None] = time.sleep
    ) -> None:
        self.transport, self.deadline, self.wait = transport, deadline, wait
        self._names: list[str] = []
        self._inference: list[str] | None = None

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> "RewardClient":
        """The client that the environment describes, checked: actors answer, and serve the bundle that the job names.

        PERSONA_RM_BUNDLE the bundle, PERSONA_RM_NAMESPACE (persona_rm), PERSONA_RM_DEADLINE seconds (300). Raises
        `HostError`: a plugin calls this at import, where the host does not swallow it.
        """
        env = os.environ if environ is None else environ
        namespace = env.get("PERSONA_RM_NAMESPACE", NAMESPACE)
        client = cls(RayTransport(namespace), deadline=float(env.get("PERSONA_RM_DEADLINE", "300")))
        client.check(env.get("PERSONA_RM_BUNDLE"), namespace)
        return client

    def check(self, bundle: str | None, namespace: str = NAMESPACE) -> None:
        """Raises `HostError` unless actors live in the namespace and serve `bundle`."""
        if not bundle:
            raise HostError(
                "PERSONA_RM_BUNDLE does not say which reward bundle this job uses. On a cluster that was started "
                "before, your shell's variables do not reach the rollout actors: put it into runtime_env env_vars"
            )
        self._names = self.transport.names()
        if not self._names:
            raise HostError(
                f"no reward actors in namespace {namespace!r} of this Ray cluster: start them there before the host "
                f"takes its resources: python -m persona_rm.serving start {bundle}"
            )
        reward, inference = (self._names, "the reward actors serve"), (self._inferring(), "the inference actor serves")
        for names, who in (reward, inference):
            served = self._ask("info", (), "", names)["bundle"] if names else bundle
            if Path(served).resolve() != Path(bundle).resolve():
                raise HostError(f"in namespace {namespace!r} {who} {served}, this job asks for {bundle}")

    def reward(self, user: str | None, prompt: str, response: str, *, bad_label: bool = False) -> Reply:
        """This person's reward for the response. Raises `ScoreError` when there is none, or it is not finite."""
        reply: Reply = self._ask("score", (Ask(user, prompt, response, bad_label),), user or prompt)
        if not math.isfinite(reply.reward):
            raise ScoreError(f"the reward of user {user!r} is {reply.reward}")
        return reply

    def profile(self, user: str | None, prompt: str) -> Profile:
        """What this person prefers, and the prompt that tells the policy so: from the inference actor where one runs,
        else from the reward actors."""
        profile: Profile = self._ask("profile", (user, prompt), user or prompt, self._inferring())
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

    def _ask(self, method: str, args: tuple[Any, ...], key: str, among: Sequence[str] = ()) -> Any:
        """A user keeps to one actor (its state is cached there) until that one does not answer. `among`: these
        actors, else the reward actors."""
        end = time.monotonic() + self.deadline
        start, attempt, last = zlib.crc32(key.encode()), 0, "no actor is named"
        while (left := end - time.monotonic()) > 0 or attempt == 0:
            names = among or self._names or self.transport.names()
            if names:
                name = names[(start + attempt) % len(names)]
                try:
                    return self.transport.call(name, method, args, max(left, 0.1))
                except Unreachable as error:
                    last = str(error)
            pause = min(0.1 * 2 ** min(attempt, 6), 5.0)
            logger.warning("persona_rm: %s; try %d of %s in %.1f s", last, attempt + 2, method, pause)
            self.wait(pause)
            attempt += 1
        who = "inference actor" if among and among == self._inference else "reward actor"
        raise ScoreError(f"no {who} answered {method} within {self.deadline:.0f} s; last: {last}")


def _connect() -> None:
    import ray

    if not ray.is_initialized():
        ray.init(address=os.environ.get("RAY_ADDRESS", "auto"), log_to_driver=False)
