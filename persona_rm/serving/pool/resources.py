"""The resources that actors need: they are checked before anything is created, and then reserved.

Each actor gets a placement group of its own, with one bundle. A detached actor without a group would hold its
resources only while it lives: when it dies, another waiting process may take them, and the replacement waits for ever.
The group keeps the resources reserved across restarts, until `release`. An actor cannot be split over nodes, so the
check is made per node.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from persona_rm.cluster.ray_nodes import KINDS, ClusterNode, cluster_nodes
from persona_rm.errors import HostError

EPSILON = 1e-6


@dataclass(frozen=True, slots=True)
class Need:
    """`n` actors of one kind, with the resources of each. `who`, a plural, names them in errors."""

    who: str
    n: int
    cpus: float
    gpus: float = 0

    @property
    def bundle(self) -> dict[str, float]:
        """The resources of one actor as Ray writes them; empty if it needs none."""
        return {kind: float(amount) for kind, amount in zip(KINDS, (self.cpus, self.gpus), strict=True) if amount}

    def __str__(self) -> str:
        return f"{self.n} {self.who} of {self.cpus:g} CPU and {self.gpus:g} GPU each"


def fitting(needs: Sequence[Need], rooms: Sequence[Mapping[str, float]]) -> int:
    """How many of the needed actors fit on nodes with these free resources: first fit, the largest actors first."""
    # Copies, because `_place` takes from them.
    left = [dict(room) for room in rooms]
    bundles = [need.bundle for need in needs for _ in range(need.n)]
    # The largest come first: a small actor that is placed early may block the only node on which a large one fits.
    return sum(_place(bundle, left) for bundle in sorted(bundles, key=_size, reverse=True))


def _size(bundle: Mapping[str, float]) -> tuple[float, float]:
    return bundle.get("GPU", 0), bundle.get("CPU", 0)


def _place(bundle: Mapping[str, float], left: Sequence[dict[str, float]]) -> bool:
    """Take the bundle from the first node with room for it; False if there is none."""
    for room in left:
        # Free amounts are sums of fractions such as 0.25 CPU, and rounding must not refuse an exact fit.
        if all(room.get(kind, 0) + EPSILON >= amount for kind, amount in bundle.items()):
            for kind, amount in bundle.items():
                room[kind] -= amount
            return True
    return False


def require_room(needs: Sequence[Need], timeout: float = 5.0) -> None:
    """Raises `HostError` if the cluster has no room for these actors.

    It is raised at once if even the empty cluster would be too small. If other processes hold the resources, it is
    raised after `timeout` seconds, because actors that were just ended free theirs a moment later.
    """
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
    """The message: what was asked for, what each node has free, and what to do."""
    asked = " and ".join(str(need) for need in needs if need.n)
    free = "; ".join(map(str, nodes)) or "it has no node"
    why = "others hold the rest: start the actors before the host, or end what holds it" if possible else "too small"
    return (
        f"asked for {asked}; an actor must fit on one node, and this Ray cluster has room for {fit} of them ({why}). "
        f"{free}. Ask for fewer actors (--actors), for less each (--cpus, --gpus), or use a larger cluster"
    )


def reserve(name: str, bundle: Mapping[str, float], timeout: float = 10.0) -> Any:
    """The placement group of this name, which is created if there is none; None for an empty bundle.

    Raises `HostError` if it is not ready within the timeout; nothing stays reserved then.
    """
    from ray.util.placement_group import placement_group, remove_placement_group

    if not bundle:
        return None
    # A group of this name was left by an actor that died; its resources are kept for the replacement.
    group = _groups().get(name) or placement_group([dict(bundle)], name=name, lifetime="detached")
    if group.wait(timeout):
        return group
    remove_placement_group(group)
    free = "; ".join(map(str, cluster_nodes()))
    raise HostError(f"{dict(bundle)} for {name} could not be reserved within {timeout:g} s. {free}")


def release(*names: str) -> None:
    """Remove the placement groups of these names, and so free their resources."""
    from ray.util.placement_group import remove_placement_group

    groups = _groups()
    for name in names:
        if name in groups:
            remove_placement_group(groups[name])


def reserved(prefix: str) -> list[str]:
    """The names of the placement groups that begin with `prefix`, sorted."""
    return sorted(name for name in _groups() if name.startswith(prefix))


def _groups() -> dict[str, Any]:
    """The placement groups of all namespaces, by name. Ray's own look-up sees only the namespace of the caller."""
    from ray import PlacementGroupID
    from ray.util.placement_group import PlacementGroup, placement_group_table

    rows = placement_group_table().values()
    living = {row["name"]: row["placement_group_id"] for row in rows if row["state"] != "REMOVED"}
    return {name: PlacementGroup(PlacementGroupID(bytes.fromhex(id_))) for name, id_ in living.items()}
