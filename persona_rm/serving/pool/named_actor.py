"""One named, detached actor in a Ray cluster: made with its share of the machines reserved, found, ended."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from persona_rm.errors import HostError
from persona_rm.serving.pool.resources import Need, release, reserve

NAMESPACE = "persona_rm"
PREFIX = "reward-"
INFERENCE = "inference-0"
SUPERVISOR = "supervisor-0"
CLOSING = 3.0
"""Seconds that an actor has to close its engines before it is killed."""


@dataclass(frozen=True, slots=True)
class Spec:
    """What makes a reward actor, so that a supervisor can make one more. `options` go to the actor's constructor."""

    namespace: str
    bundle: str
    run_dir: str | None = None
    num_cpus: float = 1
    num_gpus: float = 0
    options: Mapping[str, Any] = field(default_factory=dict)

    def need(self, n: int) -> Need:
        """What `n` of them take."""
        return Need("reward actors", n, self.num_cpus, self.num_gpus)

    def create(self, name: str) -> Any:
        """The handle of a new reward actor. Raises `HostError` if its share cannot be reserved.

        Its calls are not repeated by Ray: a client that hears of a death at once can ask another actor meanwhile.
        """
        from persona_rm.serving.actor.reward_actor import RewardActor

        return create(
            RewardActor,
            (self.bundle, name, self.run_dir),
            dict(self.options),
            namespace=self.namespace,
            name=name,
            need=self.need(1),
            retries=0,
        )


def create(
    cls: type, args: Sequence[Any], kwargs: Mapping[str, Any], *, namespace: str, name: str, need: Need, retries: int
) -> Any:
    """A detached actor that outlives its maker and its own deaths, on what is reserved for it."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    group = reserve(share(namespace, name), need.bundle)
    placed = {"scheduling_strategy": PlacementGroupSchedulingStrategy(group, 0)} if group is not None else {}
    lasting = {"lifetime": "detached", "max_restarts": -1, "max_task_retries": retries, "max_concurrency": 512}
    options = {"num_cpus": need.cpus, "num_gpus": need.gpus, **lasting, **placed}
    with _without_warning():
        return ray.remote(cls).options(name=name, namespace=namespace, **options).remote(*args, **kwargs)


def end(namespace: str, *names: str) -> None:
    """End the actors of these names for good, if they live, and give back their shares.

    `ray.kill` does not let an actor finish, so the `close` of those that have one is called before, all at once. An
    actor that does not get to it is killed too.
    """
    import ray

    handles = []
    for name in names:
        with suppress(ValueError):
            handles.append(ray.get_actor(name, namespace=namespace))
    closing = [handle.close.remote() for handle in handles if getattr(handle, "close", None) is not None]
    if closing:
        ray.wait(closing, num_returns=len(closing), timeout=CLOSING)
    for handle in handles:
        ray.kill(handle, no_restart=True)
    release(*[share(namespace, name) for name in names])


def share(namespace: str, name: str) -> str:
    """The name under which an actor's share is reserved."""
    return f"{namespace}/{name}"


def named(namespace: str) -> list[str]:
    """Every actor that lives in a namespace, starting ones too."""
    import ray

    found = ray.util.list_named_actors(all_namespaces=True)
    return [one["name"] for one in found if one["namespace"] == namespace]


def pool_names(namespace: str = NAMESPACE) -> list[str]:
    """The names of the reward actors that live in a namespace, in order."""
    return in_order(name for name in named(namespace) if name.startswith(PREFIX))


def in_order(names: Iterable[str]) -> list[str]:
    """reward-2 before reward-10."""
    return sorted(names, key=lambda name: (len(name), name))


def ready_names(namespace: str, timeout: float = 2.0) -> list[str]:
    """The reward actors that can score now according to the supervisor; none without a supervisor."""
    import ray

    try:
        supervisor = ray.get_actor(SUPERVISOR, namespace=namespace)
        return list(ray.get(supervisor.names.remote(), timeout=timeout))
    except (ray.exceptions.RayError, ValueError):
        return []


def refuse_taken(names: Sequence[str], namespace: str) -> None:
    """Raises `HostError` if an actor of one of these names lives already."""
    living = named(namespace)
    if taken := [name for name in names if name in living]:
        raise HostError(f"actors {taken} already run in namespace {namespace!r}: stop them, or take another namespace")


@contextmanager
def _without_warning() -> Iterator[None]:
    """Hide Ray's warning that a detached actor ends with its placement group. That is intended: `end` removes both."""

    def keep(record: logging.LogRecord) -> bool:
        return "detached actor with a placement group" not in record.getMessage()

    logger = logging.getLogger("ray.actor")
    logger.addFilter(keep)
    try:
        yield
    finally:
        logger.removeFilter(keep)
