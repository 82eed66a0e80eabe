"""The flags of any OpenRLHF 0.11.2 job, made small enough for a laptop, with a list of what was changed and why.

The rules below are data: a flag, its new value, and the reason for the reader of the log. A rule changes nothing if
the flag already fits, so rehearsing a rehearsal changes nothing. Defaults are those of cli/train_ppo_ray.py and
cli/train_dpo.py.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from persona_rm.hosts.command_records import TrainerKind
from persona_rm.hosts.common.env import Device, device
from persona_rm.hosts.openrlhf.commands import environment, gpus_needed

_DROP = object()


@dataclass(frozen=True, slots=True)
class Rule:
    """`key` becomes `to`: a value, a function of the old value, or `_DROP`, which removes the flag. A rule with `cpu`
    applies only without a GPU."""

    key: str
    to: Any
    why: str
    jobs: tuple[TrainerKind, ...] = ("ppo", "dpo")
    cpu: bool = True
    default: Any = None
    """The host's default. None: the rule acts only if the recipe names the flag."""


def _at_most(limit: int) -> Callable[[Any], Any]:
    return lambda old: min(int(float(old)), limit)


_ONE = "one process for each model fits a laptop"
_SHORT = "a rehearsal is a few steps"
_FLASH = "needs flash-attn, which has no CPU build"
_CUDA = "needs CUDA"
_ROLES = ("actor", "ref", "critic", "reward")

RULES: tuple[Rule, ...] = (
    *(Rule(f"{role}.num_nodes", 1, _ONE, ("ppo",), False, 1) for role in _ROLES),
    *(Rule(f"{role}.num_gpus_per_node", 1, _ONE, ("ppo",), False, 8) for role in _ROLES),
    Rule("vllm.num_engines", 1, _ONE, ("ppo",), False, 0),
    Rule("vllm.tensor_parallel_size", 1, _ONE, ("ppo",), False, 1),
    Rule("vllm.enforce_eager", True, "there are no CUDA graphs to capture", ("ppo",), True, False),
    Rule("vllm.gpu_memory_utilization", 0.1, "on a CPU this is a share of the machine's memory", ("ppo",), True, 0.95),
    Rule("vllm.sync_backend", "gloo", "NCCL needs GPUs", ("ppo",), True, "nccl"),
    Rule("vllm.sync_with_ray", _DROP, "Ray's collective group has no working gloo broadcast here", ("ppo",)),
    Rule("vllm.enable_sleep", _DROP, "vLLM cannot sleep without CUDA", ("ppo",)),
    Rule("train.colocate_all", _DROP, "sharing a GPU goes through CUDA IPC", ("ppo",)),
    Rule("train.colocate_actor_ref", _DROP, "there is no GPU to share", ("ppo",)),
    Rule("train.colocate_critic_reward", _DROP, "there is no GPU to share", ("ppo",)),
    Rule("ds.enable_sleep", _DROP, _CUDA),
    Rule("ds.zero_stage", _at_most(2), "ZeRO-3 shards over GPUs; one process has nothing to shard"),
    Rule("ds.zpg", 1, "belongs to ZeRO-3"),
    Rule("ds.tensor_parallel_size", 1, _ONE, cpu=False),
    Rule("ds.ring_attn_size", 1, _FLASH),
    Rule("ds.ring_attn_head_stride", _DROP, _FLASH),
    Rule("ds.packing_samples", _DROP, _FLASH),
    Rule("train.dynamic_batch_enable", _DROP, "the host packs samples for it, and packing " + _FLASH),
    Rule("ds.attn_implementation", "sdpa", _FLASH, default="flash_attention_2"),
    Rule("ds.adam_offload", _DROP, "there is no GPU whose memory it could save"),
    Rule("ds.load_in_4bit", _DROP, _CUDA),
    Rule("ds.use_liger_kernel", _DROP, "needs Triton"),
    Rule("ds.deepcompile", _DROP, _CUDA),
    Rule("data.max_len", _at_most(512), "short texts", ("ppo",), False, 2048),
    Rule("data.max_len", _at_most(2048), "histories of a few items", ("dpo",), False, 512),
    Rule("data.max_samples", _at_most(16), _SHORT, ("ppo",), False, 10**8),
    Rule("data.max_samples", _at_most(32), _SHORT, ("dpo",), False, 10**6),
    Rule("rollout.max_new_tokens", _at_most(16), "short answers", ("ppo",), False, 1024),
    Rule("rollout.batch_size", _at_most(8), _SHORT, ("ppo",), False, 1024),
    Rule("rollout.n_samples_per_prompt", _at_most(2), _SHORT, ("ppo",), False, 1),
    Rule("rollout.micro_batch_size", _at_most(4), _SHORT, ("ppo",), False, 1),
    Rule("rollout.vllm_generate_batch_size", _DROP, "over-sampling has no point in a few steps", ("ppo",), False),
    Rule("train.batch_size", _at_most(8), _SHORT, ("ppo", "dpo"), False, 128),
    Rule("train.micro_batch_size", _at_most(4), _SHORT, ("ppo",), False, 1),
    Rule("train.micro_batch_size", _at_most(4), _SHORT, ("dpo",), False, 8),
    Rule("train.num_episodes", 1, _SHORT, ("ppo",), False, 1),
    Rule("train.max_epochs", 1, _SHORT, ("ppo", "dpo"), False, 1),
    Rule("eval.n_samples_per_prompt", _at_most(2), _SHORT, ("ppo",), False),
    Rule("ckpt.save_steps", _DROP, "a rehearsal writes its final model only", cpu=False),
    Rule("ckpt.load_enable", _DROP, "the tiny model cannot continue a real checkpoint", cpu=False),
    Rule("logger.wandb.key", _DROP, "a rehearsal needs no account", cpu=False),
    Rule("use_ms", _DROP, "a rehearsal needs no hub", cpu=False),
)


def rehearse(
    args: Mapping[str, Any],
    *,
    model: Path | None = None,
    out: Path | None = None,
    on: Device | None = None,
    job: TrainerKind | None = None,
) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """The flags of any PPO or DPO job -> (flags that run here, environment, what changed and why).

    `job` is the kind of trainer; None: the flags tell it. `model` replaces every model of the job; `out` replaces
    every output folder, so that a rehearsal never writes over a real run.
    """
    on = on or device()
    if job is None:
        job = "ppo" if any(k.startswith(("actor.", "rollout.", "vllm.")) for k in args) else "dpo"
    new = dict(args)
    changes: list[str] = []
    for rule in RULES:
        if job in rule.jobs and (on == "cpu" or not rule.cpu):
            _apply(rule, new, changes)
    _paths(new, changes, job, model, out)
    _fit_batches(new, changes, job)
    env = environment(on, job=job, gpus=gpus_needed(new) if job == "ppo" else 1)
    if on == "cpu":
        changes.append(
            "environment: the CPU patches of plugins/openrlhf/rehearsal on PYTHONPATH, pretended GPUs for Ray"
        )
    return new, env, changes


def _apply(rule: Rule, args: dict[str, Any], changes: list[str]) -> None:
    old = args.get(rule.key)
    effective = rule.default if old is None else old
    if effective is None or (rule.to is _DROP and not effective):
        return
    target = rule.to(effective) if callable(rule.to) else rule.to
    if target is not _DROP and str(target) == str(effective):
        return
    if target is _DROP:
        del args[rule.key]
    else:
        args[rule.key] = target
    _note(changes, rule.key, old, rule.default, "left out" if target is _DROP else target, rule.why)


def _note(changes: list[str], key: str, old: Any, default: Any, new: Any, why: str) -> None:
    was = f"{default} (the host's default)" if old is None else old
    changes.append(f"{key}: {was} -> {new}: {why}")


def _paths(args: dict[str, Any], changes: list[str], job: TrainerKind, model: Path | None, out: Path | None) -> None:
    """Replace the models, and every folder that the host writes to."""
    models = ["actor", "critic", "reward"] if job == "ppo" else ["model", "ref"]
    for role in models if model else []:
        key = f"{role}.model_name_or_path"
        if (key in args or role in ("actor", "model")) and args.get(key) != str(model):
            _note(
                changes,
                key,
                args.get(key),
                "nothing",
                model,
                "a tiny random model: the plumbing is rehearsed, not the learning",
            )
            args[key] = str(model)
    folders = {"ckpt.output_dir": "model", "ckpt.path": "checkpoints", "logger.tensorboard_dir": "tensorboard"}
    for key, name in folders.items() if out else []:
        target = str(Path(out or ".") / name)
        if args.get(key) != target:
            _note(
                changes,
                key,
                args.get(key),
                "the host's own folder",
                target,
                "a rehearsal never writes over a real run",
            )
            args[key] = target


def _fit_batches(args: dict[str, Any], changes: list[str], job: TrainerKind) -> None:
    """Keep batches whole: the host needs them to be multiples of a micro-batch, and a training batch no larger than a
    rollout."""
    if job == "ppo":
        rollout = int(args["rollout.batch_size"]) * int(args.get("rollout.n_samples_per_prompt") or 1)
        _shrink(args, changes, "rollout.micro_batch_size", rollout)
        if int(args["train.batch_size"]) > rollout:
            _note(changes, "train.batch_size", args["train.batch_size"], None, rollout, "no larger than a rollout")
            args["train.batch_size"] = rollout
    _shrink(args, changes, "train.micro_batch_size", int(args["train.batch_size"]))


def _shrink(args: dict[str, Any], changes: list[str], key: str, whole: int) -> None:
    # The host's default of a micro-batch is 8 for DPO and 1 for PPO.
    old = int(args.get(key) or (8 if key == "train.micro_batch_size" and "model.model_name_or_path" in args else 1))
    new = next(n for n in range(min(old, whole), 0, -1) if whole % n == 0)
    if new != old:
        _note(changes, key, old, None, new, f"a divisor of {whole}")
        args[key] = new
