"""The machines of the connected Ray cluster: what each has, and what waits for room."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from persona_rm.extras import extra_needed

KINDS = ("CPU", "GPU")
STEPS = 10_000
"""Ray counts shares of a CPU in so many steps."""
STATUS_TIMEOUT = 10
"""Seconds for the cluster to say what waits in it."""


@dataclass(frozen=True, slots=True)
class ClusterNode:
    """One machine of the cluster. `id` and `address` are those that Ray gave it."""

    name: str
    total: Mapping[str, float]
    free: Mapping[str, float]
    id: str = ""
    address: str = ""

    def __str__(self) -> str:
        parts = [f"{self.free.get(kind, 0):g} of {self.total.get(kind, 0):g} {kind}" for kind in KINDS]
        at = f" ({self.address})" if self.address else ""
        return f"{self.name}{at} has {' and '.join(parts)} free"


def cluster_nodes() -> list[ClusterNode]:
    """The living nodes of the connected cluster."""
    with extra_needed("a Ray cluster"):
        import ray
        from ray._private.state import available_resources_per_node

    free = available_resources_per_node()
    return [
        ClusterNode(
            node["NodeManagerHostname"],
            node["Resources"],
            free.get(node["NodeID"], {}),
            node["NodeID"],
            node["NodeManagerAddress"],
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def node_cpus() -> list[int]:
    """The whole CPUs of each node that has any; one of 1 where this process is in no cluster."""
    import ray

    if not ray.is_initialized():
        return [1]
    return [whole for node in cluster_nodes() if (whole := int(node.total.get("CPU", 0)))] or [1]


def actor_cpus(actors: int, nodes: Sequence[int]) -> float:
    """The CPUs that each of `actors` lasting actors may hold on nodes with so many CPUs, so that tasks go on.

    Tasks ask for a whole CPU (those that read and write, and some inside of Ray Data that cannot be told to ask for
    less), and an actor holds its share until its stage ends. Actors that hold half of a CPU on each of two nodes of
    one CPU would therefore stop everything for ever. Here all actors together hold no more than what the nodes have
    beyond one CPU each. Then some node has a whole CPU free, wherever Ray puts the actors: on nodes of one CPU each
    actor holds none. Together they also hold half of the cluster at most, and each one CPU at most.
    """
    held = min(actors, sum(nodes) / 2, sum(nodes) - len(nodes))
    return math.floor(held / actors * STEPS) / STEPS


def cluster_report() -> str:
    """What waits for room in the connected cluster, and what each node has; for errors and reports."""
    import ray

    try:
        waiting = "; ".join(pending_demand()) or "nothing"
        nodes = "; ".join(map(str, cluster_nodes())) or "no node is alive"
    except (ray.exceptions.RayError, OSError, RuntimeError) as error:
        # The report is part of a message about a wait; that the cluster does not answer belongs into it.
        return f"The Ray cluster does not say what it has ({type(error).__name__})"
    return f"Waiting for room: {waiting}. Nodes: {nodes}"


def pending_demand() -> list[str]:
    """The tasks, actors and placement groups that no node has room for, as "2 of 1 CPU". It works without Ray's
    dashboard."""
    import ray
    from ray.autoscaler.v2.sdk import get_cluster_status

    status = get_cluster_status(ray.get_runtime_context().gcs_address, timeout=STATUS_TIMEOUT).resource_demands
    demands = [*status.ray_task_actor_demand, *status.placement_group_demand]
    return [
        f"{request.count} of {' and '.join(f'{amount:g} {kind}' for kind, amount in sorted(request.bundle.items()))}"
        for demand in demands
        for request in demand.bundles_by_count
    ]
