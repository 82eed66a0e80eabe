"""Is a folder the same one on every node of the connected Ray cluster?

Stages hand files to each other, and reward actors read a bundle, on whichever node Ray puts them. Without a shared
folder a build would fail in the middle, or an actor would restart for ever, so it is checked before work starts.
"""

import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from persona_rm.cluster.ray_nodes import ClusterNode, cluster_nodes
from persona_rm.cluster.ray_wait import ray_results
from persona_rm.errors import HostError

TIMEOUT = 120.0
"""Seconds without an answer of another node, each of which starts a worker that looks for the folder."""


def require_shared(folder: Path, what: str) -> None:
    """Raises `HostError` if a node that has CPUs does not see `folder` under this path, or cannot write there.

    A task on each node reads a file that this process wrote there, and writes one beside it. A cluster of one node is
    not asked. `what` names the folder in the error.
    """
    nodes = _working_nodes()
    if len(nodes) < 2:
        return
    folder, name = folder.resolve(), f"_seen-{uuid.uuid4().hex}"
    mark = folder / name
    answers = [folder / f"{name}-{node.id}" for node in nodes]
    mark.write_text(name)
    try:
        _on_each(nodes, _answer, [(mark, name, answer) for answer in answers])
        # What counts is what this process sees of the answers: another folder of the same name has them too.
        missing = [node for node, answer in zip(nodes, answers, strict=True) if not answer.is_file()]
    finally:
        for path in (mark, *answers):
            path.unlink(missing_ok=True)
    _refuse(missing, folder, what)


def require_same_files(folder: Path, what: str) -> None:
    """Raises `HostError` if a node that has CPUs sees other files in `folder` than this process: their names and sizes
    are compared, so copies will do, and the folder may be read-only. Otherwise as `require_shared`."""
    nodes = _working_nodes()
    if len(nodes) < 2:
        return
    folder = folder.resolve()
    mine = _listing(folder)
    theirs = _on_each(nodes, _listing, [(folder,)] * len(nodes))
    _refuse([node for node, files in zip(nodes, theirs, strict=True) if files != mine], folder, what)


def _working_nodes() -> list[ClusterNode]:
    return [node for node in cluster_nodes() if node.total.get("CPU", 0)]


def _on_each(
    nodes: Sequence[ClusterNode], look: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]
) -> list[Any]:
    """`look(*arguments)` on each node. It asks for no CPU, so a busy node answers too."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    task = ray.remote(num_cpus=0)(look)
    asked = []
    for node, given in zip(nodes, arguments, strict=True):
        place = NodeAffinitySchedulingStrategy(node.id, soft=False)
        asked.append(task.options(scheduling_strategy=place).remote(*given))
    return ray_results("every node was asked whether it sees the folder", asked, TIMEOUT)


def _answer(mark: Path, content: str, answer: Path) -> bool:
    """In a worker: writes `answer` if the driver's file is here with its content."""
    try:
        if mark.read_text() != content:
            return False
        answer.write_text(content)
    except OSError:  # no such folder, or no permission: the driver misses the answer and names this node
        return False
    return True


def _listing(folder: Path) -> list[tuple[str, int]]:
    """The files in a folder with their sizes; empty if there is no such folder here."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return sorted((str(path.relative_to(folder)), path.stat().st_size) for path in files)


def _refuse(missing: Sequence[ClusterNode], folder: Path, what: str) -> None:
    if missing:
        names = ", ".join(f"{node.name} ({node.address})" for node in missing)
        raise HostError(
            f"{what} {folder} must be the same on every node of this Ray cluster, and these do not see it: {names}. "
            "Nothing was started. Put it on a file system that every node mounts under the same path (NFS, Lustre, a "
            "ReadWriteMany volume), or use this machine alone: RAY_ADDRESS=local"
        )
