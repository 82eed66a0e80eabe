"""What actors take of a cluster: checked before anything is created, then reserved.

Each actor gets a placement group of its own, with one bundle. A bare detached actor would hold its share only while it
lives: what it frees by dying goes to another actor that waits, and its replacement waits for ever. The group keeps the
share through deaths, until `release`. An actor cannot be split, so the check is per node.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from persona_rm.errors import HostError

KINDS = ("CPU", "GPU")
EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Need:
    """What `n` actors of one sort take, each; `who` in the plural names them in errors."""

    who: str
    n: int
    cpus: float
    gpus: float = 0

    @property
    def bundle(self) -> dict[str, float]:
        """As Ray writes it; empty for an actor that takes nothing."""
        return {kind: float(much) for kind, much in zip(KINDS, (self.cpus, self.gpus), strict=True) if much}

    def __str__(self) -> str:
        return f"{self.n} {self.who} of {self.cpus:g} CPU and {self.gpus:g} GPU each"


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """One machine of the cluster."""

    name: str
    total: Mapping[str, float]
    free: Mapping[str, float]

    def __str__(self) -> str:
        parts = [f"{self.free.get(kind, 0):g} of {self.total.get(kind, 0):g} {kind}" for kind in KINDS]
        return f"{self.name} has {' and '.join(parts)} free"


def cluster_nodes() -> list[ClusterNode]:
    """The living nodes of the connected cluster."""
    import ray
    from ray._private.state import available_resources_per_node

    free = available_resources_per_node()
    living = [node for node in ray.nodes() if node["Alive"]]
    return [
        ClusterNode(node["NodeManagerHostname"], node["Resources"], free.get(node["NodeID"], {})) for node in living
    ]


def fitting(needs: Sequence[Need], rooms: Sequence[Mapping[str, float]]) -> int:
    """How many of the wanted actors find a node: the largest first, each on the first node with room."""
    left = [dict(room) for room in rooms]
    every = [need.bundle for need in needs for _ in range(need.n)]
    return sum(_put(bundle, left) for bundle in sorted(every, key=_size, reverse=True))


def _size(bundle: Mapping[str, float]) -> tuple[float, float]:
    return bundle.get("GPU", 0), bundle.get("CPU", 0)


def _put(bundle: Mapping[str, float], left: Sequence[dict[str, float]]) -> bool:
    for room in left:
        if all(room.get(kind, 0) + EPSILON >= much for kind, much in bundle.items()):
            for kind, much in bundle.items():
                room[kind] -= much
            return True
    return False


def require_room(needs: Sequence[Need], timeout: float = 5.0) -> None:
    """Raises `HostError` if the cluster has no room for these actors: at once if even the empty cluster is too
    small, after `timeout` seconds if others hold it (actors that were just ended free their share a moment
    later)."""
    end = time.monotonic() + timeout
    while True:
        nodes, wanted = cluster_nodes(), sum(need.n for need in needs)
        fit = fitting(needs, [node.free for node in nodes])
        if fit == wanted:
            return
        possible = fitting(needs, [node.total for node in nodes]) == wanted
        if not possible or time.monotonic() >= end:
            raise HostError(no_room(needs, nodes, fit, possible=possible))
        time.sleep(0.2)


def no_room(needs: Sequence[Need], nodes: Sequence[ClusterNode], fit: int, *, possible: bool) -> str:
    """What was asked, what each node has, what to do."""
    asked = " and ".join(str(need) for need in needs if need.n)
    found = "; ".join(map(str, nodes)) or "it has no node"
    why = "others hold the rest: start the actors before the host, or end what holds it" if possible else "too small"
    return (
        f"asked for {asked}; an actor must fit on one node, and this Ray cluster has room for {fit} of them ({why}). "
        f"{found}. Ask for fewer actors (--actors), for less each (--cpus, --gpus), or use a larger cluster"
    )


def reserve(name: str, bundle: Mapping[str, float], timeout: float = 10.0) -> Any:
    """The placement group of this name, made if there is none; None for an empty bundle.

    Raises `HostError` if it is not ready in time: then nothing stays reserved.
    """
    from ray.util.placement_group import placement_group, remove_placement_group

    if not bundle:
        return None
    group = _groups().get(name) or placement_group([dict(bundle)], name=name, lifetime="detached")
    if group.wait(timeout):
        return group
    remove_placement_group(group)
    found = "; ".join(map(str, cluster_nodes()))
    raise HostError(f"{dict(bundle)} for {name} could not be reserved within {timeout:g} s. {found}")


def release(*names: str) -> None:
    """Give back what is reserved under these names."""
    from ray.util.placement_group import remove_placement_group

    groups = _groups()
    for name in names:
        if name in groups:
            remove_placement_group(groups[name])


def reserved(prefix: str) -> list[str]:
    """Names of the reservations that begin so."""
    return sorted(name for name in _groups() if name.startswith(prefix))


def _groups() -> dict[str, Any]:
    """By name, of all namespaces: Ray's own look-up sees the caller's only."""
    from ray import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, placement_group_table

    rows = placement_group_table().values()
    living = {row["name"]: row["placement_group_id"] for row in rows if row["state"] != "REMOVED"}
    return {name: PlacementGroup(PlacementGroupID(bytes.fromhex(id_))) for name, id_ in living.items()}
