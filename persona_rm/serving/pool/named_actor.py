"""Create, look up and end named, detached actors in a Ray cluster. Each one has its own reserved resources."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from persona_rm.errors import HostError
from persona_rm.serving.pool.resources import Need, release, reserve

logger = logging.getLogger(__name__)
NAMESPACE = "persona_rm"
PREFIX = "reward-"
INFERENCE = "inference-0"
SUPERVISOR = "supervisor-0"
CLOSING = 3.0
"""Seconds that an actor has to close its engines before it is killed."""


@dataclass(frozen=True, slots=True)
class Spec:
    """All that is needed to create a reward actor, so that a supervisor can create another one. `options` go to the
    actor's constructor."""

    namespace: str
    bundle: str
    run_dir: str | None = None
    num_cpus: float = 1
    num_gpus: float = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def need(self, n: int) -> Need:
        """The resources of `n` such actors."""
        return Need("reward actors", n, self.num_cpus, self.num_gpus)

    def create(self, name: str) -> Any:
        """Create a reward actor and return its handle. Raises `HostError` if its resources cannot be reserved.

        Ray does not retry its calls: a client that learns at once that the actor died can call another one meanwhile.
        """
        from persona_rm.serving.actor.reward_actor import RewardActor

        return create(
            RewardActor,
            (self.bundle, name, self.run_dir),
            {**self.options, "namespace": self.namespace},
            namespace=self.namespace,
            name=name,
            need=self.need(1),
            retries=0,
        )


def create(
    cls: type, args: Sequence[Any], kwargs: Mapping[str, Any], *, namespace: str, name: str, need: Need, retries: int
) -> Any:
    """Create a detached actor on reserved resources. It outlives its creator, and Ray restarts it if it dies."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    group = reserve(reservation_name(namespace, name), need.bundle)
    placed = {"scheduling_strategy": PlacementGroupSchedulingStrategy(group, 0)} if group is not None else {}
    # Calls that wait for their batch each hold one of the 512 places.
    lasting = {"lifetime": "detached", "max_restarts": -1, "max_task_retries": retries, "max_concurrency": 512}
    options = {"num_cpus": need.cpus, "num_gpus": need.gpus, **lasting, **placed}
    with _without_group_warning():
        return ray.remote(cls).options(name=name, namespace=namespace, **options).remote(*args, **kwargs)


def end(namespace: str, *names: str) -> None:
    """End the actors of these names for good and release their resources. Names without an actor are ignored.

    `ray.kill` ends a process without warning, so the actors that have a `close` method close first, all at the same
    time. An actor that does not close within `CLOSING` seconds is killed all the same.
    """
    import ray

    handles = []
    for name in names:
        with suppress(ValueError):
            # Raises ValueError if no actor has this name.
            handles.append(ray.get_actor(name, namespace=namespace))
    closing = [handle.close.remote() for handle in handles if getattr(handle, "close", None) is not None]
    if closing:
        ray.wait(closing, num_returns=len(closing), timeout=CLOSING)
    for handle in handles:
        # Actors have no bound on their restarts, so without `no_restart` Ray would start it again.
        ray.kill(handle, no_restart=True)
    # The resources come last: a detached actor ends with its placement group, and could not close its engines before.
    release(*[reservation_name(namespace, name) for name in names])


def reservation_name(namespace: str, name: str) -> str:
    """The name of the placement group that reserves an actor's resources."""
    return f"{namespace}/{name}"


def named(namespace: str) -> list[str]:
    """The names of all living actors of a namespace, including those that are starting."""
    import ray

    actors = ray.util.list_named_actors(all_namespaces=True)
    return [actor["name"] for actor in actors if actor["namespace"] == namespace]


def pool_names(namespace: str = NAMESPACE) -> list[str]:
    """The names of the living reward actors of a namespace, in order."""
    return in_order(name for name in named(namespace) if name.startswith(PREFIX))


def in_order(names: Iterable[str]) -> list[str]:
    """The names sorted by number: reward-2 comes before reward-10."""
    return sorted(names, key=lambda name: (len(name), name))


def ready_names(namespace: str, timeout: float = 2.0) -> list[str]:
    """The reward actors that can score now, according to the supervisor. Empty if no supervisor answers."""
    import ray

    try:
        supervisor = ray.get_actor(SUPERVISOR, namespace=namespace)
        return list(ray.get(supervisor.names.remote(), timeout=timeout))
    except (ray.exceptions.RayError, ValueError):
        return []


def lost_rows(namespace: str, actor: str, rows: Sequence[str], timeout: float = 5.0) -> list[int]:
    """Which of these rows end every actor, as the supervisor knows; none if it does not answer."""
    import ray

    try:
        supervisor = ray.get_actor(SUPERVISOR, namespace=namespace)
        return list(ray.get(supervisor.lost.remote(actor, list(rows)), timeout=timeout))
    except (ray.exceptions.RayError, ValueError) as error:
        logger.warning("persona_rm: the supervisor does not say which rows end actors (%s)", type(error).__name__)
        return []


@contextmanager
def suspects_told(namespace: str, actor: str, rows: Sequence[str], timeout: float = 5.0) -> Iterator[None]:
    """Tell the supervisor that this actor scores suspects inside the block."""
    import ray

    try:
        supervisor = ray.get_actor(SUPERVISOR, namespace=namespace)
        # Awaited: the block may end this process.
        ray.get(supervisor.begin.remote(actor, list(rows)), timeout=timeout)
    except (ray.exceptions.RayError, ValueError) as error:
        logger.warning("persona_rm: the supervisor takes no suspects (%s)", type(error).__name__)
        supervisor = None
    try:
        yield
    finally:
        if supervisor is not None:
            supervisor.done.remote(actor)


def refuse_taken(names: Sequence[str], namespace: str) -> None:
    """Raises `HostError` if an actor with one of these names is already running."""
    living = named(namespace)
    if taken := [name for name in names if name in living]:
        raise HostError(f"actors {taken} already run in namespace {namespace!r}: stop them, or take another namespace")


@contextmanager
def _without_group_warning() -> Iterator[None]:
    """Suppress Ray's warning that a detached actor ends with its placement group, because `end` removes both."""

    def keep(record: logging.LogRecord) -> bool:
        return "detached actor with a placement group" not in record.getMessage()

    logger = logging.getLogger("ray.actor")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
