"""Real Ray nodes beside each other on one machine, each started by `ray start`, as on several machines.

Each node has its own loopback address (Linux answers on all of 127.0.0.0/8), so their ports do not meet; with `within`
it is started inside a network namespace. Its processes are told apart by a variable in their environment, so that a
node can be killed as a machine that loses power, and nothing else is ended. `ray stop` would end every cluster here.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from persona_rm.cluster.ray_start import _access
from persona_rm.hosts.common.env import free_port
from persona_rm.hosts.common.ray_cluster import TAG, _tagged, end_leftovers

RAY = Path(sys.executable).with_name("ray")
STARTED = "Ray runtime started"
MEMORY = 100_000_000
"""Bytes of a node's object store."""


@dataclass
class RayNode:
    """A node that runs. `env` is what another process needs in order to join its cluster."""

    address: str
    env: Mapping[str, str]
    tag: str
    process: "subprocess.Popen[bytes]"

    def kill(self) -> None:
        """End all its processes at once, as a machine that loses power does."""
        for pid in _tagged(self.tag):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait(30)


@dataclass
class RayNodes:
    """Starts nodes of one cluster; `end` ends those that are left."""

    folder: Path
    port: int
    env: dict[str, str]
    nodes: list[RayNode]

    @property
    def head(self) -> str:
        """The address of the cluster."""
        return f"{self.nodes[0].address}:{self.port}"

    def start(self, address: str, cpus: int = 1, within: Sequence[str] = (), cwd: Path | None = None) -> RayNode:
        """Start a node with this address, and wait until it runs. The first one is the head."""
        tag, log = uuid.uuid4().hex, self.folder / f"{address}.log"
        joins = [f"--address={self.head}"] if self.nodes else ["--head", f"--port={self.port}"]
        first = [] if self.nodes else ["--include-dashboard=False", f"--temp-dir={self.folder}"]
        sizes = [f"--num-cpus={cpus}", "--num-gpus=0", f"--object-store-memory={MEMORY}", "--disable-usage-stats"]
        ports = ["--min-worker-port=0", "--max-worker-port=0", "--dashboard-agent-listen-port=0", "--block"]
        command = [*within, str(RAY), "start", *joins, *first, f"--node-ip-address={address}", *sizes, *ports]
        env = {**self.env, TAG: tag, "RAY_prestart_worker_first_driver": "0"}
        with log.open("wb") as out:
            process = subprocess.Popen(command, env=env, cwd=cwd, stdout=out, stderr=subprocess.STDOUT)
        node = RayNode(address, self.env, tag, process)
        self.nodes.append(node)
        end = time.monotonic() + 120
        while STARTED not in log.read_text():
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < end, log.read_text()[-2000:]
            time.sleep(0.1)
        return node

    def end(self) -> None:
        """End every node, the head last."""
        for node in reversed(self.nodes):
            end_leftovers(node.tag)


@contextmanager
def ray_nodes(folder: Path, **more: str) -> Iterator[RayNodes]:
    """Starts the nodes of a cluster that ends with this block. All of them, and those who join, have one token."""
    folder.mkdir(parents=True)
    token = _access(folder / "token")
    # Nodes of a cluster have addresses that the others reach, so the switch that keeps a cluster on loopback is off.
    env = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")} | more
    env |= {key: token[key] for key in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_TOKEN")}
    nodes = RayNodes(folder, free_port(), env, [])
    try:
        yield nodes
    finally:
        nodes.end()
