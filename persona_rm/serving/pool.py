"""Reward actors and the inference actor: named, detached, restarted by Ray, created before the host reserves machines.

The host takes its GPUs in placement groups. Actors that come later wait for ever where those took everything, so the
order is: cluster, pool, host (`launch.run_ppo`). The actors outlive the job that made them; `Pool.stop` ends them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persona_rm.bundle import read_file
from persona_rm.errors import HostError
from persona_rm.serving.actor import RewardActor
from persona_rm.serving.inference import InferenceActor

NAMESPACE = "persona_rm"
PREFIX = "reward-"
INFERENCE = "inference-0"
INFERENCE_CPUS = 0.25
"""The share of a CPU that the inference actor reserves."""


@dataclass(frozen=True, slots=True)
class Pool:
    """Running actors of one namespace."""

    namespace: str
    names: tuple[str, ...]
    """Of the reward actors."""
    inference: str | None = None
    """Of the inference actor, where there is one."""

    @property
    def every(self) -> tuple[str, ...]:
        """Reward actors, then the inference actor."""
        return (*self.names, *([self.inference] if self.inference else []))

    def handles(self) -> list[Any]:
        """Ray handles, in the order of `every`."""
        import ray

        return [ray.get_actor(name, namespace=self.namespace) for name in self.every]

    def info(self, timeout: float = 60) -> list[dict[str, Any]]:
        """`info` of each."""
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
    inference: bool | None = None,
    max_rows: int = 32,
    max_wait: float = 0.01,
    timeout: float = 300,
) -> Pool:
    """Create `n` reward actors in the connected cluster and wait until each has scored a sentence.

    `inference`: the inference actor too; None: where the bundle names a profile store. Raises `HostError` where the
    names are taken, the cluster has no room, or a bundle cannot score.
    """
    import ray

    names = tuple(f"{PREFIX}{i}" for i in range(n))
    _refuse_taken(names, namespace)
    wanted = wants_inference(bundle) if inference is None else inference
    also = start_inference(bundle, namespace=namespace, timeout=timeout).inference if wanted else None
    folder = str(Path(bundle).resolve())
    log_dir = str(run_dir.resolve()) if run_dir else None
    cls = ray.remote(RewardActor)
    options = {"num_cpus": num_cpus, "num_gpus": num_gpus, **_lasting(namespace)}
    handles = [cls.options(name=name, **options).remote(folder, name, log_dir, max_rows, max_wait) for name in names]
    try:
        _wait(handles, f"the reward actors did not start ({num_cpus} CPU, {num_gpus} GPU each)", timeout)
    except HostError:
        Pool(namespace, (), also).stop()
        raise
    return Pool(namespace, names, also)


def start_inference(
    bundle: str | Path,
    *,
    num_cpus: float = INFERENCE_CPUS,
    namespace: str = NAMESPACE,
    max_rows: int = 64,
    max_wait: float = 0.002,
    timeout: float = 300,
) -> Pool:
    """Create the inference actor alone, for data jobs. Raises `HostError` as `start_pool` does."""
    import ray

    _refuse_taken([INFERENCE], namespace)
    options = {"name": INFERENCE, "num_cpus": num_cpus, **_lasting(namespace)}
    folder = str(Path(bundle).resolve())
    handle = ray.remote(InferenceActor).options(**options).remote(folder, INFERENCE, max_rows, max_wait)
    _wait([handle], f"the inference actor did not start ({num_cpus} CPU)", timeout)
    return Pool(namespace, (), INFERENCE)


def wants_inference(bundle: str | Path) -> bool:
    """True where the bundle names a profile store: somebody has to write it. Raises `DataError` for no bundle."""
    return read_file(bundle).profiles is not None


def running(namespace: str = NAMESPACE) -> Pool:
    """The actors that live in a namespace."""
    return Pool(namespace, tuple(pool_names(namespace)), inference_name(namespace))


def pool_names(namespace: str = NAMESPACE) -> list[str]:
    """The names of the reward actors that live in a namespace, in order."""
    names = [name for name in _named(namespace) if name.startswith(PREFIX)]
    return sorted(names, key=lambda name: (len(name), name))


def inference_name(namespace: str = NAMESPACE) -> str | None:
    """The name of the inference actor that lives in a namespace."""
    return INFERENCE if INFERENCE in _named(namespace) else None


def _named(namespace: str) -> list[str]:
    import ray

    found = ray.util.list_named_actors(all_namespaces=True)
    return [one["name"] for one in found if one["namespace"] == namespace]


def _refuse_taken(names: Sequence[str], namespace: str) -> None:
    living = _named(namespace)
    if taken := [name for name in names if name in living]:
        raise HostError(f"actors {taken} already run in namespace {namespace!r}: stop them, or take another namespace")


def _lasting(namespace: str) -> dict[str, Any]:
    """Options of an actor that outlives its maker, and its own death."""
    lives = {"lifetime": "detached", "max_restarts": -1, "max_task_retries": -1}
    return {"namespace": namespace, "max_concurrency": 512, **lives}


def _wait(handles: Sequence[Any], problem: str, timeout: float) -> None:
    """Until all are warm. Raises `HostError`, and ends them, where one does not get there."""
    import ray

    try:
        ray.get([handle.warm.remote() for handle in handles], timeout=timeout)
    except ray.exceptions.RayError as error:
        for handle in handles:
            ray.kill(handle, no_restart=True)
        raise HostError(f"{problem}: {error}") from error
