"""The reward actors: named, detached, restarted by Ray, and created before the host reserves the machine.

The host takes its GPUs in placement groups. Actors that come later wait for ever where those took everything, so the
order is: cluster, pool, host (`launch.run_ppo`). The actors outlive the job that made them; `Pool.stop` ends them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persona_rm.errors import HostError
from persona_rm.serving.actor import RewardActor

NAMESPACE = "persona_rm"
PREFIX = "reward-"


@dataclass(frozen=True, slots=True)
class Pool:
    """Running reward actors of one namespace."""

    namespace: str
    names: tuple[str, ...]

    def handles(self) -> list[Any]:
        """Ray handles, in the order of the names."""
        import ray

        return [ray.get_actor(name, namespace=self.namespace) for name in self.names]

    def info(self, timeout: float = 60) -> list[dict[str, Any]]:
        """`RewardActor.info` of each."""
        import ray

        return list(ray.get([handle.info.remote() for handle in self.handles()], timeout=timeout))

    def stop(self) -> None:
        """End the actors for good."""
        import ray

        for handle in self.handles():
            ray.kill(handle, no_restart=True)


def start_pool(
    bundle: str | Path,
    n: int = 1,
    *,
    num_cpus: float = 1,
    num_gpus: float = 0,
    run_dir: Path | None = None,
    namespace: str = NAMESPACE,
    max_rows: int = 32,
    max_wait: float = 0.01,
    timeout: float = 300,
) -> Pool:
    """Create `n` actors in the connected cluster and wait until each has scored a sentence.

    Raises `HostError` where the names are taken, the cluster has no room, or a bundle cannot score.
    """
    import ray

    names = tuple(f"{PREFIX}{i}" for i in range(n))
    if taken := [name for name in names if name in pool_names(namespace)]:
        raise HostError(
            f"reward actors {taken} already run in namespace {namespace!r}: stop them, or take another namespace"
        )
    cls = ray.remote(RewardActor)
    folder = str(Path(bundle).resolve())
    log_dir = str(run_dir.resolve()) if run_dir else None
    options = {"namespace": namespace, "lifetime": "detached", "max_restarts": -1, "max_task_retries": -1}
    handles = [
        cls.options(name=name, num_cpus=num_cpus, num_gpus=num_gpus, max_concurrency=512, **options).remote(
            folder, name, log_dir, max_rows, max_wait
        )
        for name in names
    ]
    try:
        ray.get([handle.warm.remote() for handle in handles], timeout=timeout)
    except ray.exceptions.RayError as error:
        for handle in handles:
            ray.kill(handle, no_restart=True)
        raise HostError(f"the reward actors did not start ({num_cpus} CPU, {num_gpus} GPU each): {error}") from error
    return Pool(namespace, names)


def pool_names(namespace: str = NAMESPACE) -> list[str]:
    """The names of the reward actors that live in a namespace, in order."""
    import ray

    found = ray.util.list_named_actors(all_namespaces=True)
    names = [one["name"] for one in found if one["namespace"] == namespace and one["name"].startswith(PREFIX)]
    return sorted(names, key=lambda name: (len(name), name))
