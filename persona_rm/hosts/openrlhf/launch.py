"""The launch order of OpenRLHF 0.11.2: a Ray cluster, the reward actors, then the unmodified trainer that joins it.

The trainer reserves its GPUs in placement groups (cli/train_ppo_ray.py:48-140), so the reward actors, which may hold a
share of one, reserve theirs before it starts.
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from persona_rm.errors import HostError
from persona_rm.hosts.base import DEFAULT_OPTIONS, PpoJob, PpoOptions
from persona_rm.hosts.common import device
from persona_rm.hosts.common.env import Device
from persona_rm.hosts.common.finder import where
from persona_rm.hosts.common.ray_cluster import cluster
from persona_rm.hosts.openrlhf.commands import environment, gpus_needed, ppo_command, require_host
from persona_rm.hosts.openrlhf.filtering import check_policy
from persona_rm.hosts.openrlhf.silent_failures import run_trainer
from persona_rm.interpreter import fault_of_path
from persona_rm.serving.actor.reward_log import LOG_FOLDER
from persona_rm.serving.failures import FAILURES, SKIPPED
from persona_rm.serving.pool.pool import NAMESPACE, Policy, start_pool, wants_inference

logger = logging.getLogger(__name__)


def run_ppo(
    args: Mapping[str, Any],
    bundle: Path,
    run_dir: Path,
    options: PpoOptions = DEFAULT_OPTIONS,
    *,
    on: Device | None = None,
    echo: bool = True,
) -> PpoJob:
    """Train with this bundle's rewards. `args` are the host's flags without the flag of the plugin.

    Raises `HostError` if the host is missing or cannot do what the options ask for, and if the job fails.
    """
    require_host()
    # The rollouts' engine compiles code, so this would end the job minutes later.
    if fault := fault_of_path():
        raise HostError(fault)
    check_policy(options.on_failure, args)
    on = on or device()
    run_dir = run_dir.resolve()
    run_dir.mkdir(parents=True, exist_ok=True)
    flag = "reward.remote_url" if options.plugin == "reward" else "train.agent_func_path"
    plugin = str(where("openrlhf", options.plugin))
    # The job's own flags come last, so they can replace both of these.
    args = {flag: plugin, "logger.tensorboard_dir": str(run_dir / "tensorboard"), **args}
    namespace = os.environ.get("PERSONA_RM_NAMESPACE", NAMESPACE)
    extra = {
        "PERSONA_RM_BUNDLE": str(bundle.resolve()),
        "PERSONA_RM_RUN": str(run_dir),
        "PERSONA_RM_LABELS": options.labels,
        "PERSONA_RM_DEADLINE": str(options.deadline),
        "PERSONA_RM_ON_FAILURE": options.on_failure,
        "PERSONA_RM_NAMESPACE": namespace,
    }
    _clear(run_dir, resumes=_resumes(args))
    # An actor that hangs is restarted after a third of the deadline, so that a caller's last retry meets the new one.
    most = options.max_actors or options.n_actors
    policy = Policy(options.n_actors, most, stuck_after=max(options.deadline / 3, 10.0))
    actors = policy.max_actors + wants_inference(bundle)
    env = environment(on, extra=extra, gpus=gpus_needed(args), actors=actors)
    with cluster(env, on, gpus_needed(args), actors) as access:
        # Before the trainer: the host reserves its GPUs in placement groups, so the actors take theirs first.
        pool = start_pool(
            bundle,
            options.n_actors,
            num_gpus=options.reward_gpus,
            run_dir=run_dir,
            namespace=namespace,
            policy=policy,
        )
        try:
            seconds = _train(args, {**env, **access}, run_dir, echo)
        finally:
            pool.stop()
    logs = tuple(sorted((run_dir / LOG_FOLDER).glob("*.jsonl")))
    run = PpoJob(seconds, run_dir / "ppo.log", Path(str(args["logger.tensorboard_dir"])), logs)
    if options.on_failure == "skip_group":
        _check_skipped(run)
    _check_rollouts(run)
    return run


def _resumes(args: Mapping[str, Any]) -> bool:
    """True if the host will load a checkpoint of its own (trainer/ppo_trainer.py:434-435). The samples after
    that checkpoint will be in our log a second time."""
    return bool(args.get("ckpt.load_enable")) and (Path(str(args.get("ckpt.path"))) / "_actor").is_dir()


def _clear(run_dir: Path, *, resumes: bool) -> None:
    """Delete what an interrupted attempt left: its failures, and its samples unless the host resumes from its
    checkpoint."""
    (run_dir / FAILURES).unlink(missing_ok=True)
    if not resumes:
        (run_dir / SKIPPED).unlink(missing_ok=True)
        shutil.rmtree(run_dir / LOG_FOLDER, ignore_errors=True)


def _train(args: Mapping[str, Any], env: Mapping[str, str], run_dir: Path, echo: bool) -> float:
    """Run the trainer. If a plugin stopped the job, the error begins with the plugin's reason."""
    try:
        return run_trainer(ppo_command(args), env, run_dir / "ppo.log", echo)
    except HostError as error:
        failures = run_dir / FAILURES
        if not failures.is_file():
            raise
        first = json.loads(failures.read_text(encoding="utf-8").splitlines()[0])
        raise HostError(
            f"a reward could not be computed, so the job was stopped: {first['reason']}\n{error}"
        ) from error


def _check_skipped(run: PpoJob) -> None:
    """Warn about what was left out. Raises `HostError` if every group was: the host then exits with 0 without one
    training step."""
    if skipped := run.skipped():
        reason = skipped[0]["reason"]
        logger.warning("%d samples had no reward, and their groups were left out; the first: %s", len(skipped), reason)
        if not re.search(r"Global step \d", run.log.read_text(encoding="utf-8", errors="replace")):
            problem = f"{len(skipped)} samples had no reward, and the host dropped every group"
            raise HostError(
                f"the job exited with 0 but trained on nothing: {problem}. The first: {reason}. Log: {run.log}"
            )


def _check_rollouts(run: PpoJob) -> None:
    """Raises `HostError` if the weights never reached vLLM. Answers are then empty from the second step on, and the
    exit code is 0."""
    samples = run.samples()
    if not samples:
        raise HostError(f"the job exited with 0 but asked for no reward. Log: {run.log}")
    # The first rollouts use the starting weights, which vLLM loaded itself, so only the second half can show it.
    late = samples[len(samples) // 2 :]
    if len(samples) >= 8 and all(row["empty"] for row in late):
        raise HostError(f"every answer of the second half is empty: did the weights reach vLLM? Log: {run.log}")
