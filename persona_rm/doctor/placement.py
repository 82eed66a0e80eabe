"""Placement: the GPUs and CPUs that a PPO job and its reward actors reserve, against what there is."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from persona_rm.cluster.ray_nodes import ClusterNode
from persona_rm.doctor.finding import DoctorFinding
from persona_rm.doctor.ports import check_ray_address
from persona_rm.doctor.subject import DoctorSubject
from persona_rm.errors import PersonaRMError
from persona_rm.hosts.common.env import device
from persona_rm.hosts.common.ray_cluster import joined_nodes
from persona_rm.serving.pool.resources import Need, fitting

LOOKED_AT = "placement"


@dataclass(frozen=True, slots=True)
class PlacedJob:
    """What one job reserves, and what to do if that is too much."""

    name: str
    gpus: int
    actors: int
    todo: str


def check_placement(subject: DoctorSubject) -> list[DoctorFinding]:
    """Does each `ppo` section, or the command, fit on the cluster that RAY_ADDRESS names, or else on this machine?"""
    jobs = jobs_of(subject)
    if not jobs:
        return []
    joined = subject.variables.get("RAY_ADDRESS", "") not in ("", "local")
    if subject.command is not None and not joined and (elsewhere := _submitted_to(subject.command.before)):
        what = f"the command is submitted to {elsewhere}, which was not asked"
        return [DoctorFinding("note", LOOKED_AT, what, "Set RAY_ADDRESS to that cluster's own address to compare")]
    device_named = subject.recipe.device if subject.recipe is not None else "gpu"
    on = device(subject.variables) if device_named == "auto" else device_named
    if joined and any(one.severity == "error" for one in check_ray_address(subject)):
        return []  # the finding about Ray says why the cluster cannot be asked
    if on == "cpu" and not joined:
        what = "no GPU is used: a job here is a rehearsal with pretended GPUs, in one process each"
        todo = "Nothing for a rehearsal; for a job on GPUs run doctor where they are, or set RAY_ADDRESS"
        return [DoctorFinding("note", LOOKED_AT, what, todo)]
    try:
        nodes = joined_nodes(subject.variables["RAY_ADDRESS"]) if joined else [this_machine(subject.variables)]
    except (PersonaRMError, ConnectionError, RuntimeError) as error:
        todo = "See the finding about Ray, and run doctor again"
        return [DoctorFinding("error", LOOKED_AT, f"the cluster cannot be asked ({type(error).__name__})", todo)]
    return [_fits(job, nodes) for job in jobs]


def jobs_of(subject: DoctorSubject) -> list[PlacedJob]:
    """The PPO jobs of the subject."""
    host, command = subject.host, subject.command
    if command is not None:
        if command.trainer != "ppo":
            return []
        todo = "Run it where the GPUs are (RAY_ADDRESS), lower the flags for nodes, GPUs per node and engines, or try "
        todo += "it small on this machine: persona-rm rehearse --bundle BUNDLE -- COMMAND"
        # The actors of a team's own job are started before it and hold their CPUs already.
        return [PlacedJob("the command", host.gpus_needed(command.args), 0, todo)]
    jobs = []
    for name, config in subject.recipe.ppo.items() if subject.recipe is not None else ():
        plugin = host.reward_entry("agent" if config.agent else "reward")
        gpus, actors = host.gpus_needed({**plugin, **config.args}), config.max_actors or config.actors
        section = f"ppo.{name}"
        todo = f"Lower the host's flags in {section}.args (nodes, GPUs per node, engines), or {section}.actors"
        jobs.append(PlacedJob(section, gpus, actors, todo))
    return jobs


def _submitted_to(before: Sequence[str]) -> str:
    """The address that `ray job submit --address` names; "" if none."""
    for place, word in enumerate(before):
        option, equals, value = word.partition("=")
        if option == "--address":
            return value if equals else "".join(before[place + 1 : place + 2])
    return ""


def this_machine(variables: Mapping[str, str]) -> ClusterNode:
    """What this machine has: its CPUs, and the GPUs that CUDA_VISIBLE_DEVICES leaves visible."""
    gpus = len(list(Path("/dev").glob("nvidia[0-9]*")))
    visible = variables.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        gpus = min(gpus, len([part for part in visible.split(",") if part.strip() not in ("", "-1")]))
    total = {"CPU": float(os.cpu_count() or 1), "GPU": float(gpus)}
    return ClusterNode("this machine", total, total)


def _fits(job: PlacedJob, nodes: list[ClusterNode]) -> DoctorFinding:
    # The host reserves one CPU with each GPU.
    needs = [Need("workers of the trainer", job.gpus, 1, 1), Need("reward actors", job.actors, 1)]
    needs = [need for need in needs if need.n]
    wanted = sum(need.n for need in needs)
    asked = " and ".join(map(str, needs))
    if fitting(needs, [node.free for node in nodes]) == wanted:
        return DoctorFinding("ok", LOOKED_AT, f"{job.name} fits: {asked}")
    there = "; ".join(map(str, nodes))
    if fitting(needs, [node.total for node in nodes]) == wanted:
        todo = "Wait until they are free, or end what holds them (ray status)"
        problem = f"{job.name} needs {asked}, and other jobs hold a part of them: {there}"
        return DoctorFinding("warning", LOOKED_AT, problem, todo)
    return DoctorFinding("error", LOOKED_AT, f"{job.name} needs {asked}; {there}", job.todo)
