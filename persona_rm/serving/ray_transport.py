"""How calls travel to the reward actors of a Ray cluster, and what goes wrong on the way."""

import logging
import os
import re
from contextlib import suppress
from typing import Any, Protocol

from persona_rm.cluster.ray_start import require_alive
from persona_rm.errors import ErrorKind, HostError, PersonaRMError, ScoreError, StoreDown
from persona_rm.extras import extra_needed
from persona_rm.serving.pool.fatal_rows import PROOF, fingerprint
from persona_rm.serving.pool.named_actor import NAMESPACE, lost_rows, ready_names
from persona_rm.serving.pool.pool import inference_name, pool_names

logger = logging.getLogger(__name__)


class Unreachable(Exception):
    """The actor did not answer. A retry may succeed, so this is not yet an error of the request."""

    kind: ErrorKind = "down"


class Transport(Protocol):
    """Carries calls to actors. Raises `Unreachable` if an actor does not answer, and `ScoreError` of the kind and with
    the rows of the actor's own."""

    def names(self) -> list[str]: ...

    def inference(self) -> str | None: ...

    def call(self, name: str, method: str, args: tuple[Any, ...], timeout: float) -> Any: ...


class RayTransport:
    """Named actors of the cluster that this process belongs to."""

    def __init__(self, namespace: str = NAMESPACE) -> None:
        self.namespace = namespace
        self._handles: dict[str, Any] = {}

    def names(self) -> list[str]:
        """The reward actors that can score now according to the supervisor; without one, all that live."""
        from ray.exceptions import RayError

        _connect()
        try:
            return ready_names(self.namespace) or pool_names(self.namespace)
        except (RayError, ConnectionError, RuntimeError) as error:
            logger.warning("persona_rm: the cluster did not say which actors live (%s)", type(error).__name__)
            return []

    def inference(self) -> str | None:
        """The inference actor, if one lives now."""
        _connect()
        return inference_name(self.namespace)

    def call(self, name: str, method: str, args: tuple[Any, ...], timeout: float) -> Any:
        """One call and its answer. A call that reaches its timeout is cancelled and leaves the actor's queue."""
        import ray
        from ray.exceptions import GetTimeoutError, RayError, RayTaskError

        ref = None
        try:
            if name not in self._handles:
                self._handles[name] = ray.get_actor(name, namespace=self.namespace)
            ref = getattr(self._handles[name], method).remote(*args)
            return ray.get(ref, timeout=timeout)
        except RayTaskError as error:
            # RayTaskError is a RayError too, so this clause comes first: the actor lives, and its method raised.
            cause = error.cause if isinstance(error.cause, ScoreError) else ScoreError("")
            if isinstance(error.cause, StoreDown):
                cause = ScoreError("", kind="down")
            problem = f"{name} could not {method}: {_message_of(error)}"
            raise ScoreError(problem, cause.rows, cause.kind, cause=cause.cause) from error
        except (RayError, GetTimeoutError, ValueError) as error:
            # `ray.get_actor` raises ValueError for a name without an actor. The handle may be that of an actor that
            # ended for good, so the name is looked up again by the next call.
            self._handles.pop(name, None)
            if isinstance(error, GetTimeoutError) and ref is not None:
                with suppress(RayError, ValueError):
                    ray.cancel(ref)
            self._refuse_fatal(name, args)
            raise Unreachable(f"{name}: {type(error).__name__}") from error
        except Exception as error:
            raise ScoreError(f"{name} could not {method}: {type(error).__name__}") from error

    def _refuse_fatal(self, name: str, args: tuple[Any, ...]) -> None:
        """Raises `ScoreError` if suspects (`RewardActor.score_batch`) were lost with this actor as with others before:
        a further actor would be lost, too."""
        if len(args) < 2:
            return
        requests = args[0]
        if fatal := lost_rows(self.namespace, name, [fingerprint(request) for request in requests]):
            cause = f"{PROOF} reward actors ended or stalled while they scored nothing but this request"
            rows = tuple(fatal) if len(requests) > 1 else ()
            raise ScoreError(f"{cause}; it is not tried again", rows, "fatal", cause=cause)


def _message_of(error: Any) -> str:
    """The message of an actor's error. An error of another library may hold a user's text, so only its type and place
    are given; the whole error is in the exception chain."""
    if isinstance(error.cause, PersonaRMError):
        return str(error.cause)
    places = re.findall(r'^\s+File "[^"\n]*?([\w.]+\.py)", line (\d+)', str(error), re.M)
    return type(error.cause).__name__ + (f" in {places[-1][0]}:{places[-1][1]}" if places else "")


def _connect() -> None:
    with extra_needed("asking reward actors", "train"):
        import ray

    if not ray.is_initialized():
        require_alive(os.environ.get("RAY_ADDRESS"))
        try:
            ray.init(address=os.environ.get("RAY_ADDRESS", "auto"), log_to_driver=False)
        except ConnectionError as error:
            raise HostError(
                f"this process is in no Ray cluster, and found none to ask for rewards: {error}"
            ) from error
