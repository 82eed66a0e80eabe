"""A pool of reward actors, with a supervisor and, if needed, the inference actor.

The actors are named and detached, and Ray restarts them. They are created before the host starts: the host reserves
its GPUs in placement groups, and if those take everything, an actor that is created later waits for ever. The order is
therefore cluster, pool, host. The actors outlive the job that created them, and
`Pool.stop` ends them.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persona_rm.bundle import read_file
from persona_rm.bundle.postprocess_config import NOT_SHARED
from persona_rm.cluster.ray_wait import ray_results
from persona_rm.cluster.shared_folder import require_same_files, require_shared
from persona_rm.errors import HostError, PersonaRMError
from persona_rm.serving.actor.inference_actor import InferenceActor
from persona_rm.serving.pool.named_actor import (
    INFERENCE,
    NAMESPACE,
    PREFIX,
    SUPERVISOR,
    Spec,
    create,
    end,
    in_order,
    named,
    pool_names,
    refuse_taken,
    reservation_name,
)
from persona_rm.serving.pool.resources import Need, release, require_room, reserved
from persona_rm.serving.pool.scaling import Policy
from persona_rm.serving.pool.supervisor import Supervisor

__all__ = [
    "INFERENCE",
    "NAMESPACE",
    "PREFIX",
    "Policy",
    "Pool",
    "inference_name",
    "pool_names",
    "running",
    "start_inference",
    "start_pool",
    "wants_inference",
]

logger = logging.getLogger(__name__)
INFERENCE_CPUS = 0.25
"""The share of a CPU that the inference actor reserves."""


@dataclass(frozen=True, slots=True)
class Pool:
    """The running actors of one namespace."""

    namespace: str
    names: tuple[str, ...]
    """The reward actors at the start. The supervisor may have added some and ended others since."""
    inference: str | None = None
    """The inference actor, if there is one."""

    @property
    def every(self) -> tuple[str, ...]:
        """The names of the reward actors, then of the inference actor."""
        return (*self.names, *([self.inference] if self.inference else []))

    def now(self) -> "Pool":
        """The same pool with the reward actors that are alive at this moment."""
        return Pool(self.namespace, tuple(pool_names(self.namespace)) if self.names else (), self.inference)

    def handles(self) -> list[Any]:
        """The Ray handles of the living actors, in the order of `every`."""
        import ray

        return [ray.get_actor(name, namespace=self.namespace) for name in self.now().every]

    def info(self, timeout: float = 60) -> list[dict[str, Any]]:
        """The `info` of each living actor. Raises `HostError` if one does not answer."""
        import ray

        try:
            return list(ray.get([handle.info.remote() for handle in self.handles()], timeout=timeout))
        except (ray.exceptions.RayError, ValueError) as error:
            problem = f"an actor of namespace {self.namespace!r} did not say what it serves ({type(error).__name__})"
            raise HostError(f"{problem}: it may be restarting, try again later") from error

    def health(self, timeout: float = 10) -> dict[str, Any]:
        """The supervisor's view: ready actors, target, actions so far. Raises `HostError` if it does not answer."""
        import ray

        try:
            supervisor = ray.get_actor(SUPERVISOR, namespace=self.namespace)
            return dict(ray.get(supervisor.info.remote(), timeout=timeout))
        except (ray.exceptions.RayError, ValueError) as error:
            problem = f"no supervisor answers in namespace {self.namespace!r} ({type(error).__name__})"
            raise HostError(f"{problem}: start a pool with python -m persona_rm.serving start BUNDLE") from error

    def stop(self, timeout: float = 10) -> None:
        """End the actors for good, the supervisor first, and release their reserved resources."""
        if self.names:
            # The supervisor ends first, or it would replace the actors that are ended next.
            end(self.namespace, SUPERVISOR)
        until = time.monotonic() + timeout
        # The names are read again in every round: the supervisor may have created an actor just before it ended.
        while (living := self._living()) and time.monotonic() < until:
            end(self.namespace, *living)
            time.sleep(0.05)
        if living:
            logger.warning("persona_rm: %s were ended, and Ray still lists them after %g s", living, timeout)
        # An actor that died keeps its reservation, so reservations are found by their names and not through living
        # actors.
        rewards = reserved(reservation_name(self.namespace, PREFIX)) if self.names else []
        release(*rewards, *[reservation_name(self.namespace, name) for name in self.every])

    def _living(self) -> list[str]:
        """The actors of this pool that Ray still lists. It frees a name a moment after the actor was killed."""
        mine = [*self.now().every, *([SUPERVISOR] if self.names else [])]
        return [name for name in named(self.namespace) if name in mine]


def start_pool(
    bundle: str | Path,
    n: int = 1,
    *,
    num_cpus: float = 1,
    num_gpus: float = 0,
    run_dir: Path | None = None,
    namespace: str = NAMESPACE,
    inference: bool | None = None,
    max_rows: int = 64,
    max_wait: float = 0.003,
    timeout: float = 300,
    policy: Policy | None = None,
) -> Pool:
    """Create `n` reward actors and their supervisor in the connected cluster; wait until each has scored a sentence.

    `num_cpus` and `num_gpus` are those of each actor. `inference`: whether to create the inference actor too; None: if
    the bundle names a profile store. `policy`: the bounds of the pool and the limits of the supervisor; None: always
    `n` actors. Raises `HostError` if the names are taken, the cluster has no room (after a few seconds) or the bundle
    cannot score; nothing is left running then.
    """
    policy = policy or Policy(n, n)
    names = tuple(f"{PREFIX}{i}" for i in range(n))
    wanted = wants_inference(bundle) if inference is None else inference
    log_dir = str(run_dir.resolve()) if run_dir else None
    options = {"max_rows": max_rows, "max_wait": max_wait}
    spec = Spec(namespace, str(Path(bundle).resolve()), log_dir, num_cpus, num_gpus, options)
    # Whatever can be refused is refused before the first actor is created.
    _check_bounds(n, policy)
    if policy.max_actors > 1 and read_file(bundle).postprocess.keeps_statistics:
        logger.warning("persona_rm: %s", NOT_SHARED)
    refuse_taken([*names, SUPERVISOR, *([INFERENCE] if wanted else [])], namespace)
    _require_folders(Path(bundle), run_dir)
    require_room([spec.need(n), *([_inference_need(INFERENCE_CPUS)] if wanted else [])])
    pool = Pool(namespace, names, INFERENCE if wanted else None)
    try:
        if wanted:
            start_inference(bundle, namespace=namespace, timeout=timeout)
        handles = [spec.create(name) for name in names]
        _wait(handles, f"the reward actors did not start ({num_cpus} CPU, {num_gpus} GPU each)", timeout)
        _supervise(spec, policy, timeout)
    # Also at an interrupt: detached actors would outlive this process and keep their resources.
    except BaseException:
        pool.stop()
        raise
    return pool


def start_inference(
    bundle: str | Path,
    *,
    num_cpus: float = INFERENCE_CPUS,
    namespace: str = NAMESPACE,
    max_rows: int = 64,
    max_wait: float = 0.002,
    timeout: float = 300,
) -> Pool:
    """Create only the inference actor, for data jobs. Raises `HostError` for the same reasons as `start_pool`."""
    refuse_taken([INFERENCE], namespace)
    _require_folders(Path(bundle), None)
    need = _inference_need(num_cpus)
    require_room([need])
    pool, args = Pool(namespace, (), INFERENCE), (str(Path(bundle).resolve()), INFERENCE, max_rows, max_wait)
    try:
        handle = create(InferenceActor, args, {}, namespace=namespace, name=INFERENCE, need=need, retries=-1)
        _wait([handle], f"the inference actor did not start ({num_cpus} CPU)", timeout)
    except BaseException:
        pool.stop()
        raise
    return pool


def wants_inference(bundle: str | Path) -> bool:
    """True if the bundle names a profile store, which only the inference actor writes.

    Raises `DataError` if there is no bundle.
    """
    return read_file(bundle).profiles is not None


def running(namespace: str = NAMESPACE) -> Pool:
    """The living actors of a namespace, and the dead ones whose resources are still reserved for a replacement."""
    kept = [
        name.removeprefix(reservation_name(namespace, "")) for name in reserved(reservation_name(namespace, PREFIX))
    ]
    return Pool(namespace, tuple(in_order({*pool_names(namespace), *kept})), inference_name(namespace))


def inference_name(namespace: str = NAMESPACE) -> str | None:
    """The name of the inference actor of a namespace; None if it is not alive."""
    return INFERENCE if INFERENCE in named(namespace) else None


def _check_bounds(n: int, policy: Policy) -> None:
    low, high = policy.min_actors, policy.max_actors
    if not 1 <= low <= n <= high:
        problem = f"asked for {n} reward actors, at least {low}, at most {high}"
        raise HostError(f"{problem}; choose 1 <= min actors <= actors <= max actors")


def _require_folders(bundle: Path, run_dir: Path | None) -> None:
    """Raises `HostError` if a node does not see the bundle or the folder of the logs: actors may be on any node."""
    require_same_files(bundle, "the bundle")
    if run_dir is not None:
        run_dir.mkdir(parents=True, exist_ok=True)
        require_shared(run_dir, "the folder of the reward logs")


def _inference_need(cpus: float) -> Need:
    return Need("inference actors", 1, cpus)


def _supervise(spec: Spec, policy: Policy, timeout: float) -> None:
    """Start the supervisor and wait until it reports enough ready actors."""
    import ray

    nothing = Need("supervisors", 1, 0)
    where = {"namespace": spec.namespace, "name": SUPERVISOR}
    handle = create(Supervisor, (spec, policy), {}, **where, need=nothing, retries=-1)
    until = time.monotonic() + timeout
    try:
        problem = "the supervisor of the reward actors did not answer"
        while (
            len(ray_results(problem, [handle.names.remote()], max(until - time.monotonic(), 1))[0]) < policy.min_actors
        ):
            time.sleep(0.1)
            if time.monotonic() > until:
                raise HostError(f"the supervisor found fewer than {policy.min_actors} ready actors in {timeout:g} s")
    except ray.exceptions.RayError as error:
        raise HostError(f"the supervisor of the reward actors did not start: {error}") from error


def _wait(handles: Sequence[Any], problem: str, timeout: float) -> None:
    """Wait until all actors are warm. Raises `HostError` if one fails to start."""
    import ray

    try:
        ray_results(problem, [handle.warm.remote() for handle in handles], timeout)
    except ray.exceptions.RayError as error:
        cause = getattr(error, "cause", None)
        raise HostError(f"{problem}: {cause if isinstance(cause, PersonaRMError) else error}") from error
