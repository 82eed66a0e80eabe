"""The Ray cluster that a job and its reward actors share.

Only what was started here is ended here. `ray stop` ends every cluster of the machine, so it is never called.
"""

import os
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from persona_rm.cluster.ray_nodes import ClusterNode, cluster_nodes
from persona_rm.cluster.ray_start import require_alive
from persona_rm.construct.job import local_ray
from persona_rm.extras import extra_needed
from persona_rm.hosts.common.env import Device
from persona_rm.interpreter import worker_python
from persona_rm.serving.pool.pool import NAMESPACE

HOST_ONLY = ("RAY_OVERRIDE_RESOURCES", "RAY_JOB_CONFIG_JSON_ENV_VAR")
"""Variables for the host's own `ray.init`. They would change the cluster that is started here."""
TAG = "PERSONA_RM_CLUSTER"
"""The variable in the environment of every process of a cluster; its value is unique to the cluster."""


@contextmanager
def cluster(env: Mapping[str, str], on: Device, gpus: int, n_actors: int) -> Iterator[Mapping[str, str]]:
    """The variables by which another process joins the cluster.

    If RAY_ADDRESS names a cluster it is joined as it is. Otherwise one is started that ends with this block and that
    only the processes of this system user can reach (`local_ray`). Its workers get `env`, without the variables that
    only the host's own `ray.init` may see. It has its own folder, because several clusters can share a machine.
    """
    if (address := os.environ.get("RAY_ADDRESS")) and address != "local":
        with _connected(address):
            yield {"RAY_ADDRESS": address}
        return
    folder, tag = tempfile.mkdtemp(prefix="prm-"), uuid.uuid4().hex
    resources: dict[str, Any] = {"num_gpus": gpus, "num_cpus": gpus + 3 + n_actors} if on == "cpu" else {}
    workers = {k: v for k, v in env.items() if k not in HOST_ONLY} | {TAG: tag}
    options: dict[str, Any] = {"namespace": NAMESPACE, "_temp_dir": folder, "logging_level": "warning", **resources}
    try:
        with local_ray(workers, **options) as access:
            yield access
    finally:
        end_leftovers(tag)
        shutil.rmtree(folder, ignore_errors=True)


def end_leftovers(tag: str, timeout: float = 10.0) -> list[int]:
    """End the processes that a cluster leaves behind (vLLM's workers outlive a killed engine); returns their ids.

    Only processes of this system user whose environment carries the cluster's tag are ended, each by its id. Linux
    only.
    """
    leftovers = _tagged(tag)
    for sign in (signal.SIGTERM, signal.SIGKILL):
        # Looked up again before each signal, because the id of a process that ended may belong to another one by now.
        for pid in _tagged(tag):
            with suppress(ProcessLookupError):
                os.kill(pid, sign)
        end = time.monotonic() + timeout
        while _tagged(tag) and time.monotonic() < end:
            time.sleep(0.1)
    return leftovers


def _tagged(tag: str) -> list[int]:
    """The ids of the running processes, except this one, whose environment has the tag."""
    wanted, out = f"{TAG}={tag}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            pid = int(folder.name)
            if pid != os.getpid() and wanted in (folder / "environ").read_bytes().split(b"\0"):
                out.append(pid)
    return out


def joined_nodes(address: str | None = None) -> list[ClusterNode]:
    """The machines of the cluster at this address, or at the one that RAY_ADDRESS names; none without one."""
    address = address or os.environ.get("RAY_ADDRESS", "local")
    if address in ("", "local"):
        return []
    with _connected(address):
        return cluster_nodes()


@contextmanager
def _connected(address: str) -> Iterator[None]:
    with extra_needed("training", "train"):
        import ray

    started_here = not ray.is_initialized()
    if started_here:
        require_alive(address)
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, runtime_env=worker_python() or None)
    try:
        yield
    finally:
        if started_here:
            ray.shutdown()
