"""The environment in which a host runs: with or without a GPU, and the variables that must reach its Ray actors."""

import json
import os
import socket
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from persona_rm.interpreter import worker_python
from persona_rm.threads import thread_variables

Device = Literal["gpu", "cpu"]
_TRAVELS = ("PERSONA_RM_", "PYTHONPATH", "HF_HUB_OFFLINE", "VLLM_CPU_", "DS_ACCELERATOR")


def device(environ: Mapping[str, str] | None = None) -> Device:
    """ "gpu" if a GPU is visible and torch was built with CUDA; PERSONA_RM_DEVICE overrides. Imports nothing: torch
    would take seconds."""
    environ = os.environ if environ is None else environ
    chosen = environ.get("PERSONA_RM_DEVICE")
    if chosen in ("gpu", "cpu"):
        return "gpu" if chosen == "gpu" else "cpu"
    hidden = environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() in ("", "-1")
    return "gpu" if not hidden and _nvidia_devices() and _torch_has_cuda() else "cpu"


def _nvidia_devices() -> bool:
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()


def _torch_has_cuda() -> bool:
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    # In builds without CUDA, the version file of torch says that `cuda` is None.
    text = (Path(spec.origin).parent / "version.py").read_text()
    return not any(line.startswith("cuda") and line.rstrip().endswith("None") for line in text.splitlines())


def free_port() -> int:
    """A TCP port that is not in use now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def host_environment(
    patches: Path,
    on: Device | None = None,
    *,
    job: Literal["dpo", "ppo"] = "ppo",
    extra: Mapping[str, str] | None = None,
    base: Mapping[str, str] | None = None,
    gpus: int = 4,
    actors: int = 0,
) -> dict[str, str]:
    """The whole environment of a host's process on this device.

    `patches` is the folder of the host's CPU patches; it is put first on PYTHONPATH on a machine without a GPU. There,
    the trainer's `gpus` processes and the `actors` that give rewards share the cores (`persona_rm.threads`).
    `extra` (the bundle, the label policy, the namespace of the reward actors) is added last. Variables that the
    rollout actors need also go into Ray's job configuration, because a cluster that was started elsewhere does not see
    the variables of our shell.
    """
    env = dict(os.environ if base is None else base)
    # Tokenizers that have used threads may lock up in a process that is forked afterwards.
    env["TOKENIZERS_PARALLELISM"] = "false"
    if (on or device(env)) == "cpu":
        env.update(_without_gpu(env, patches, gpus))
        # Each role of the trainer, pretended GPUs being one each, and each reward actor is a process that computes.
        env.update(thread_variables(gpus + actors, env))
    if job == "dpo":
        env.update(_single_process(env))
    env.update(extra or {})
    if job == "ppo":
        # Last, because the variables of `extra` must reach the actors too.
        env["RAY_JOB_CONFIG_JSON_ENV_VAR"] = json.dumps(job_config(env))
    return env


def _without_gpu(env: Mapping[str, str], patches: Path, gpus: int) -> dict[str, str]:
    """Ray is told that `gpus` GPUs exist, so that the placement groups of the host can be reserved.

    CUDA_VISIBLE_DEVICES names as many devices, none of which exists: Ray refuses a shorter list, and a real GPU stays
    hidden from every worker. Ray would also start one Python process per CPU at once, which takes a laptop a minute,
    so that is switched off.
    """
    rest = [path for path in env.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(patches)]
    cpus = max(8, gpus + 4)
    return {
        "PYTHONPATH": os.pathsep.join([str(patches), *rest]),
        "RAY_OVERRIDE_RESOURCES": json.dumps({"GPU": gpus, "CPU": cpus}),
        "VLLM_CPU_KVCACHE_SPACE": env.get("VLLM_CPU_KVCACHE_SPACE", "1"),
        "HF_HUB_OFFLINE": env.get("HF_HUB_OFFLINE", "1"),
        "DS_ACCELERATOR": "cpu",
        "CUDA_VISIBLE_DEVICES": ",".join(["-1"] * gpus),
        "RAY_prestart_worker_first_driver": "0",
    }


def _single_process(env: Mapping[str, str]) -> dict[str, str]:
    """The variables that a launcher such as torchrun would set for a job of one process."""
    rank = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    return rank | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())} | thread_variables(1, env)


def job_config(env: Mapping[str, str]) -> dict[str, Any]:
    """The runtime environment that `ray job submit --runtime-env-json` takes, wrapped as Ray's job configuration."""
    travels = {k: v for k, v in env.items() if k.startswith(_TRAVELS)}
    return {"runtime_env": {"env_vars": travels, **worker_python()}, "metadata": {}}
