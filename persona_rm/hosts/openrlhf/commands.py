"""The commands of OpenRLHF 0.11.2: its dotted flags, its environment, the GPUs it reserves, and its version."""

import json
import re
import shlex
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from persona_rm.errors import HostError, RecipeError
from persona_rm.hosts.base import PromptData
from persona_rm.hosts.common.env import Device, host_environment
from persona_rm.hosts.common.finder import where

SUPPORTED = ("0.11.2",)
"""The releases whose code was read and run. The rehearsal patches carry the same list."""

CommandArgs = Mapping[str, Any]
_KEY = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*", re.IGNORECASE)


def flags(args: CommandArgs) -> list[str]:
    """`{"train.batch_size": 8, "vllm.enforce_eager": true}` -> `["--train.batch_size", "8", "--vllm.enforce_eager"]`.

    True is a flag without a value; False and None leave the flag out, because the host's switches are all
    `store_true`; a list is several values. Raises `RecipeError` if a key is not a flag's name or a flag cannot carry a
    value.
    """
    out: list[str] = []
    for key, value in args.items():
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise RecipeError(
                f"{key!r} is not a flag of the host: write it dotted and without dashes, e.g. train.batch_size"
            )
        if value is None or value is False:
            continue
        out.append(f"--{key}")
        if value is not True:
            values = value if isinstance(value, list | tuple) else [value]
            out += [_text(key, one) for one in values]
    return out


def _text(key: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RecipeError(
            f"{key}: {value!r} cannot be given to the host; give a number, a text, true, false or a list of them"
        )
    return str(value)


def host_version() -> str | None:
    """The installed version of openrlhf, or None. Reads its metadata only: an import would load torch."""
    try:
        return version("openrlhf")
    except PackageNotFoundError:
        return None


def require_host() -> str:
    """The installed version. Raises `HostError` if there is none, or one that was not read."""
    installed = host_version()
    if installed is None:
        raise HostError(f"openrlhf is not installed here. Do: pip install --no-deps openrlhf=={SUPPORTED[-1]}")
    if installed not in SUPPORTED:
        raise HostError(
            f"openrlhf {installed} is installed; plugins and rehearsal were read against {', '.join(SUPPORTED)}, and "
            "what they rely on (how a reward is called, which errors are swallowed, how weights reach vLLM) changes "
            f"between versions without an error. Do: pip install --no-deps openrlhf=={SUPPORTED[-1]}"
        )
    return installed


def dpo_command(args: CommandArgs) -> list[str]:
    """The unmodified DPO trainer with these flags."""
    return [sys.executable, "-m", "openrlhf.cli.train_dpo", *flags(args)]


def ppo_command(args: CommandArgs) -> list[str]:
    """The unmodified PPO trainer (REINFORCE++, GAE, GRPO, ...) with these flags."""
    return [sys.executable, "-m", "openrlhf.cli.train_ppo_ray", *flags(args)]


def environment(
    on: Device | None = None,
    *,
    job: Literal["dpo", "ppo"] = "ppo",
    extra: Mapping[str, str] | None = None,
    base: Mapping[str, str] | None = None,
    gpus: int = 4,
    actors: int = 0,
) -> dict[str, str]:
    """The environment of the trainer on this device, with the CPU patches on a machine without a GPU.

    The host puts TOKENIZERS_PARALLELISM, NCCL_DEBUG and RAY_ENABLE_ZERO_COPY_TORCH_TENSORS into the runtime
    environment of its own `ray.init` (cli/train_ppo_ray.py:25-31). Ray refuses a variable that our job configuration
    sets too, so `job_config` never carries these three.
    """
    patches: Path = where("openrlhf", "rehearsal")
    return host_environment(patches, on, job=job, extra=extra, base=base, gpus=gpus, actors=actors)


def gpus_needed(args: CommandArgs) -> int:
    """How many GPUs (real, or pretended in a rehearsal) a PPO job reserves: engines, actor, reference, critic, reward.

    These are the placement groups of `cli/train_ppo_ray.py:48-140`, with its defaults of 1 node and 8 GPUs per node.
    """

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


GPUS_PER_NODE = 8
"""The host's default."""


def draft_args(gpus: int) -> dict[str, Any]:
    """Flags of a PPO job on `gpus` GPUs (0: one pretended GPU) with a short rollout, as a start to change.

    All roles share the GPUs (`train.colocate_all`), which the host allows if each has as many. A baseline from the
    samples of a prompt takes the place of a critic.
    """
    nodes = max(1, -(-gpus // GPUS_PER_NODE))
    each = max(1, gpus // nodes)
    args: dict[str, Any] = {}
    for role in ("actor", "ref"):
        args |= {f"{role}.num_nodes": nodes, f"{role}.num_gpus_per_node": each}
    args |= {"vllm.num_engines": nodes * each, "vllm.tensor_parallel_size": 1}
    args["vllm.gpu_memory_utilization"] = 0.5 if gpus else 0.1
    if gpus:
        args |= {"train.colocate_all": True, "vllm.enable_sleep": True, "ds.enable_sleep": True}
        args |= {"vllm.sync_backend": "nccl", "ds.zero_stage": 3, "ds.attn_implementation": "flash_attention_2"}
    else:
        args |= {"vllm.enforce_eager": True, "vllm.sync_backend": "gloo"}
        args |= {"ds.zero_stage": 0, "ds.attn_implementation": "sdpa"}
    batch = 16 * nodes * each
    return args | {
        "data.max_len": 1024, "rollout.max_new_tokens": 256, "rollout.batch_size": batch,
        "rollout.n_samples_per_prompt": 4, "rollout.micro_batch_size": 4, "train.batch_size": 4 * batch,
        "train.micro_batch_size": 2, "train.num_episodes": 1, "train.max_epochs": 1, "actor.adam.lr": 5.0e-7,
        "algo.advantage.estimator": "reinforce_baseline", "algo.kl.init_coef": 0.01,
    }  # fmt: skip


def own_job_lines(bundle: Path, data: PromptData | None = None) -> tuple[str, str]:
    """The command that starts the reward actors, and a job that asks them."""
    variables = json.dumps({"env_vars": {"PERSONA_RM_BUNDLE": str(bundle)}})
    keys = {"data.label_key": "user"}
    if data is not None:
        keys = {"data.prompt_dataset": str(data.file.resolve())}
        keys |= {"data.input_key": data.prompt_column, "data.label_key": data.user_column}
    job = f"python -m openrlhf.cli.train_ppo_ray ... {shlex.join(flags(keys))}"
    plugin = '--train.agent_func_path "$(persona-rm where openrlhf --agent)"'
    start = f"python -m persona_rm.serving start {shlex.quote(str(bundle))} --actors 2"
    return start, f"ray job submit --runtime-env-json {shlex.quote(variables)} -- {job} {plugin}"
