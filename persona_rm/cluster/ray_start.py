"""A Ray cluster of this machine that only processes of this system user can reach.

By default Ray listens on every address of the machine and answers every connection, so another process could read the
users' preferences or run code. A cluster that is started here is protected in two ways:

- Its node address is 127.0.0.1, and then every server of Ray (GCS, raylet, object manager, workers, agents, metrics)
  binds to the loopback interface. Ray replaces a loopback address by the machine's outer one unless a switch says
  that this machine has no cluster of several nodes; the switch is named after Windows and OSX but works everywhere.
- Ray's token authentication is on. The token is random, belongs to one cluster, and is in a file that only this system
  user can read. The environment holds the path of that file, never the token.

Ray's Prometheus exporters and the health pages of its agents still answer without the token, on loopback only. They
hold measurements of the machine and of Ray, and no text of users. Sockets that a job opens beside Ray (the trainer's
process groups of torch and NCCL) are the trainer's; torch's rendezvous store listens on every address.

A cluster that already runs is joined as it is: its owner decides about addresses and tokens.
"""

import os
import secrets
import shutil
import socket
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from persona_rm.errors import HostError
from persona_rm.extras import extra_needed
from persona_rm.interpreter import worker_python
from persona_rm.io.terminal import make_console

LOOPBACK = "127.0.0.1"
console = make_console(stderr=True)


def ray_address() -> str | None:
    """The address of the cluster that a process without one joins: `RAY_ADDRESS`, or what `ray start` left on this
    machine. None if there is none, and a cluster must be started."""
    with extra_needed("a Ray cluster"):
        from ray._private.services import get_ray_address_from_environment

    address = get_ray_address_from_environment(None, None)
    return None if address in (None, "local") else str(address)


@contextmanager
def local_ray(
    environ: Mapping[str, str] | None = None, *, tries: int = 3, **options: Any
) -> Iterator[Mapping[str, str]]:
    """A cluster that lives as long as this block; `options` are those of `ray.init`.

    Workers inherit the environment of the process that starts the cluster: `environ` replaces this process's while it
    starts. Yields the variables that another process needs in order to join; inside the block this process has them
    too. Raises `HostError` if Ray does not start.
    """
    with extra_needed("a Ray cluster"):
        import ray

    folder = Path(tempfile.mkdtemp(prefix="prm-"))
    # The folder is made by `mkdtemp`, which only this user can enter; Ray puts its sockets and logs there too.
    access = _access(folder / "token")
    started = {"address": "local", "_node_ip_address": LOOPBACK, "_temp_dir": str(folder), **options}
    try:
        # Two environments: this process keeps its own for the whole block, and the cluster is started under `environ`.
        with environment({**os.environ, **access}), _closed_mode():
            try:
                with environment({**(os.environ if environ is None else environ), **access}):
                    connect(tries, **started)
                yield {**access, "RAY_ADDRESS": str(ray.get_runtime_context().gcs_address)}
            finally:
                ray.shutdown()
    finally:
        _read_again()
        shutil.rmtree(folder, ignore_errors=True)


def require_alive(address: str | None, timeout: float = 5.0) -> None:
    """Raises `HostError` if no Ray cluster answers at HOST:PORT: Ray itself tries for minutes.

    Other forms of an address ("auto", "ray://...") are left to Ray.
    """
    host, colon, port = (address or "").rpartition(":")
    if not colon or not port.isdecimal() or "/" in host:
        return
    problem = ""
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout):
            pass
        # A process that is stopped, or that is no Ray, takes connections too.
        problem = _unhealthy(str(address), timeout)
    except (OSError, OverflowError) as error:
        problem = str(error)
    if problem:
        raise HostError(
            f"no Ray cluster answers at {address} ({problem}): RAY_ADDRESS names it. Start the cluster, correct the "
            "address, or unset RAY_ADDRESS to have one started here"
        )


def _unhealthy(address: str, timeout: float) -> str:
    """Why the head of a cluster does not answer gRPC's health check; "" if it does."""
    import grpc  # type: ignore[import-untyped]
    from ray.core.generated import gcs_service_pb2, gcs_service_pb2_grpc

    with grpc.insecure_channel(address) as channel:
        stub = gcs_service_pb2_grpc.NodeInfoGcsServiceStub(channel)
        try:
            stub.CheckAlive(gcs_service_pb2.CheckAliveRequest(), timeout=timeout)
        except grpc.RpcError as error:
            # A cluster with a token refuses this call, which shows that it lives.
            code = error.code()
            if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
                return f"gRPC: {code.name.lower()}"
    return ""


def connect(tries: int = 3, **options: Any) -> None:
    """Call `ray.init` without its messages. Ray gives its first process a fixed 30 seconds, which a busy machine can
    miss, so several tries are made. Raises `HostError` if Ray does not start or the cluster does not answer."""
    with extra_needed("a Ray cluster"):
        import ray

    require_alive(options.get("address"))
    if python := worker_python():
        options["runtime_env"] = {**python, **options.get("runtime_env", {})}
    warnings.filterwarnings("ignore", "Tip: In future versions of Ray", FutureWarning)
    for left in reversed(range(tries)):
        try:
            ray.init(include_dashboard=False, log_to_driver=False, **options)
            return
        except Exception as error:
            # Only the slow start is worth another try, and only its message tells it from other failures.
            if left == 0 or "timed out during startup" not in str(error):
                raise HostError(f"no Ray cluster could be started here: {error}") from error
            console.print(f"Ray did not start within its 30 seconds on this busy machine; {left} tries left")


@contextmanager
def environment(env: Mapping[str, str]) -> Iterator[None]:
    """`os.environ` is `env` inside the block."""
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _access(token: Path) -> dict[str, str]:
    """Write a new token, and return the variables by which Ray, and vLLM inside it, use it and stay on loopback."""
    # O_EXCL and the mode at creation: the file never exists with wider permissions, and a planted one is refused.
    handle = os.open(token, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w") as file:
        file.write(secrets.token_hex(32))
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_AUTH_TOKEN": "",  # a token of another cluster would win over the file
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "VLLM_HOST_IP": LOOPBACK,  # vLLM looks for a Ray node with its own address
    }


@contextmanager
def _closed_mode() -> Iterator[None]:
    """Switch off clusters of several nodes. Ray reads its switches once per process, perhaps before this block, so it
    is made to read them again here. `local_ray` does the same at its end, so that a later connection to another
    cluster is not affected."""
    from ray._private import ray_constants

    before = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    _read_again()
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = before


def _read_again() -> None:
    """Make Ray read its switches and its token again."""
    import ray

    compiled: Any = ray._raylet
    compiled.Config.initialize("")
    compiled.AuthenticationTokenLoader.instance().reset_cache()
