"""The environment in which the host runs: GPU machine or laptop, and what must reach its Ray actors."""

import json
import os
import socket
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from persona_rm.hosts.common.finder import where
from persona_rm.interpreter import worker_python

Device = Literal["gpu", "cpu"]
_TRAVELS = ("PERSONA_RM_", "PYTHONPATH", "HF_HUB_OFFLINE", "VLLM_CPU_KVCACHE_SPACE", "DS_ACCELERATOR")


def device(environ: Mapping[str, str] | None = None) -> Device:
    """ "gpu" where a GPU is visible and torch was built for one. Reads files, imports nothing; PERSONA_RM_DEVICE
    overrides."""
    environ = os.environ if environ is None else environ
    told = environ.get("PERSONA_RM_DEVICE")
    if told in ("gpu", "cpu"):
        return "gpu" if told == "gpu" else "cpu"
    hidden = environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() in ("", "-1")
    return "gpu" if not hidden and _nvidia_devices() and _torch_has_cuda() else "cpu"


def _nvidia_devices() -> bool:
    return any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()


def _torch_has_cuda() -> bool:
    spec = find_spec("torch")
    if spec is None or spec.origin is None:
        return False
    text = (Path(spec.origin).parent / "version.py").read_text()
    return not any(line.startswith("cuda") and line.rstrip().endswith("None") for line in text.splitlines())


def free_port() -> int:
    """A TCP port that nobody listens on right now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def gpus_needed(args: Mapping[str, Any]) -> int:
    """How many GPUs (real, or pretended in a rehearsal) a PPO job reserves: engines, actor, reference, critic,
    reward."""

    def size(role: str) -> int:
        return int(args.get(f"{role}.num_nodes") or 1) * int(args.get(f"{role}.num_gpus_per_node") or 8)

    engines = int(args.get("vllm.num_engines") or 0) * int(args.get("vllm.tensor_parallel_size") or 1)
    if args.get("train.colocate_all"):
        return max(size("actor"), engines)
    need = engines + size("actor")
    if float(args.get("algo.kl.init_coef", 0.01) or 0) > 0 and not args.get("train.colocate_actor_ref"):
        need += size("ref")
    if (args.get("algo.advantage.estimator") or "gae") == "gae":
        need += size("critic")
    if not (args.get("reward.remote_url") or args.get("train.agent_func_path")):
        need += size("reward")
    return need


def environment(
    on: Device | None = None,
    *,
    job: Literal["dpo", "ppo"] = "ppo",
    extra: Mapping[str, str] | None = None,
    base: Mapping[str, str] | None = None,
    gpus: int = 4,
) -> dict[str, str]:
    """The whole environment of a host process on this device.

    `extra` (the bundle, the label policy, the namespace of the reward actors) is put in last. Variables that the
    rollout actors need also go into Ray's job configuration: a cluster that was started elsewhere does not see our
    shell's.
    """
    env = dict(os.environ if base is None else base)
    env["TOKENIZERS_PARALLELISM"] = "false"
    if (on or device(env)) == "cpu":
        env.update(_rehearsal(env, gpus))
    if job == "dpo":
        env.update(_single_process(env))
    env.update(extra or {})
    if job == "ppo":
        env["RAY_JOB_CONFIG_JSON_ENV_VAR"] = json.dumps(job_config(env))
    return env


def _rehearsal(env: Mapping[str, str], gpus: int) -> dict[str, str]:
    """Ray would start one Python per pretended CPU at once, which a laptop feels for a minute: switched off.

    CUDA_VISIBLE_DEVICES names as many devices as are pretended, none of which exists: Ray refuses a list that is
    shorter, and a real GPU stays hidden from every worker.
    """
    folder = str(where("openrlhf", "rehearsal"))
    path = [folder, *(p for p in env.get("PYTHONPATH", "").split(os.pathsep) if p and p != folder)]
    cpus = max(8, gpus + 4)
    return {
        "PYTHONPATH": os.pathsep.join(path),
        "RAY_OVERRIDE_RESOURCES": json.dumps({"GPU": gpus, "CPU": cpus}),
        "VLLM_CPU_KVCACHE_SPACE": env.get("VLLM_CPU_KVCACHE_SPACE", "1"),
        "HF_HUB_OFFLINE": env.get("HF_HUB_OFFLINE", "1"),
        "DS_ACCELERATOR": "cpu",
        "CUDA_VISIBLE_DEVICES": ",".join(["-1"] * gpus),
        "RAY_prestart_worker_first_driver": "0",
    }


def _single_process(env: Mapping[str, str]) -> dict[str, str]:
    """What a launcher would set: the host's DPO trainer is run as one process."""
    threads = env.get("OMP_NUM_THREADS", str(os.cpu_count() or 1))
    rank = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    return rank | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": threads}


def job_config(env: Mapping[str, str]) -> dict[str, Any]:
    """The runtime environment that `ray job submit --runtime-env-json` takes, wrapped as Ray's job configuration."""
    travels = {k: v for k, v in env.items() if k.startswith(_TRAVELS)}
    return {"runtime_env": {"env_vars": travels, **worker_python()}, "metadata": {}}
