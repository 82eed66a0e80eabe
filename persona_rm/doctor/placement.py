"""Placement: the GPUs and CPUs that a recipe's PPO job and its reward actors reserve, against what there is."""

import os
from collections.abc import Mapping
from pathlib import Path

from persona_rm.doctor.finding import DoctorFinding
from persona_rm.doctor.subject import DoctorSubject
from persona_rm.errors import PersonaRMError
from persona_rm.hosts.common.env import device
from persona_rm.hosts.common.ray_cluster import joined_nodes
from persona_rm.recipe import PpoConfig
from persona_rm.serving.pool.resources import ClusterNode, Need, fitting

LOOKED_AT = "placement"


def check_placement(subject: DoctorSubject) -> list[DoctorFinding]:
    """Does each `ppo` section fit on the cluster that RAY_ADDRESS names, or else on this machine?"""
    if subject.recipe is None or not subject.recipe.ppo:
        return []
    joined = subject.variables.get("RAY_ADDRESS", "") not in ("", "local")
    on = device(subject.variables) if subject.recipe.device == "auto" else subject.recipe.device
    if on == "cpu" and not joined:
        what = "no GPU is used: a job here is a rehearsal with pretended GPUs, in one process each"
        return [DoctorFinding("note", LOOKED_AT, what)]
    try:
        nodes = joined_nodes() if joined else [this_machine(subject.variables)]
    except (PersonaRMError, ConnectionError, RuntimeError) as error:
        todo = "See the finding about Ray, and run doctor again"
        return [DoctorFinding("error", LOOKED_AT, f"the cluster cannot be asked ({type(error).__name__})", todo)]
    return [_fits(subject, name, config, nodes) for name, config in subject.recipe.ppo.items()]


def this_machine(variables: Mapping[str, str]) -> ClusterNode:
    """What this machine has: its CPUs, and the GPUs that CUDA_VISIBLE_DEVICES leaves visible."""
    gpus = len(list(Path("/dev").glob("nvidia[0-9]*")))
    visible = variables.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        gpus = min(gpus, len([part for part in visible.split(",") if part.strip() not in ("", "-1")]))
    total = {"CPU": float(os.cpu_count() or 1), "GPU": float(gpus)}
    return ClusterNode("this machine", total, total)


def _fits(subject: DoctorSubject, name: str, config: PpoConfig, nodes: list[ClusterNode]) -> DoctorFinding:
    plugin = subject.host.reward_entry("agent" if config.agent else "reward")
    gpus, actors = subject.host.gpus_needed({**plugin, **config.args}), config.max_actors or config.actors
    # The host reserves one CPU with each GPU.
    needs = [Need("workers of the trainer", gpus, 1, 1), Need("reward actors", actors, 1)]
    wanted = sum(need.n for need in needs)
    section = f"ppo.{name}"
    if fitting(needs, [node.free for node in nodes]) == wanted:
        return DoctorFinding("ok", LOOKED_AT, f"{section} fits: {' and '.join(map(str, needs))}")
    there = "; ".join(map(str, nodes))
    if fitting(needs, [node.total for node in nodes]) == wanted:
        todo = "Wait until they are free, or end what holds them (ray status)"
        problem = f"{section} needs {' and '.join(map(str, needs))}, and other jobs hold a part of them: {there}"
        return DoctorFinding("warning", LOOKED_AT, problem, todo)
    todo = f"Lower the host's flags in {section}.args (nodes, GPUs per node, engines), or {section}.actors"
    return DoctorFinding("error", LOOKED_AT, f"{section} needs {' and '.join(map(str, needs))}; {there}", todo)
