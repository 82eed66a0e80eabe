"""The order that works: a Ray cluster, the reward actors, then the unmodified host as a process that joins it.

Only what was started here is ended here. `ray stop` is machine-wide, so it is never called.
"""

import json
import logging
import os
import re
import shutil
import signal
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from persona_rm.construct.job import local_ray
from persona_rm.errors import HostError
from persona_rm.hosts.common import device, environment, gpus_needed, ppo_command, require_host, run_host, where
from persona_rm.hosts.common.env import Device
from persona_rm.interpreter import worker_python
from persona_rm.recipe import cannot_skip
from persona_rm.serving.actor.reward_actor import LOG_FOLDER
from persona_rm.serving.failures import FAILURES, SKIPPED, OnFailure
from persona_rm.serving.pool.pool import NAMESPACE, Policy, start_pool, wants_inference

logger = logging.getLogger(__name__)
Plugin = Literal["reward", "agent"]
TAG = "PERSONA_RM_CLUSTER"
HOST_ONLY = ("RAY_OVERRIDE_RESOURCES", "RAY_JOB_CONFIG_JSON_ENV_VAR")


@dataclass(frozen=True, slots=True)
class PpoJob:
    """A finished PPO job. `rewards` are the actors' logs, one JSON line per scored sample."""

    seconds: float
    log: Path
    tensorboard: Path
    rewards: tuple[Path, ...]

    def samples(self) -> list[dict[str, Any]]:
        """Every scored sample, in the order of time."""
        rows = [row for path in self.rewards for row in _rows(path)]
        return sorted(rows, key=lambda row: float(row["time"]))

    def skipped(self) -> list[dict[str, Any]]:
        """Every sample that got no reward and was left out with its group: user and reason, in the order of time."""
        path = self.log.parent / SKIPPED
        return _rows(path) if path.is_file() else []


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def run_ppo(
    args: Mapping[str, Any],
    bundle: Path,
    run_dir: Path,
    *,
    plugin: Plugin = "reward",
    n_actors: int = 1,
    reward_gpus: float = 0,
    on: Device | None = None,
    labels: Literal["prior", "strict"] = "prior",
    deadline: float = 300,
    echo: bool = True,
    max_actors: int | None = None,
    on_failure: OnFailure = "stop",
) -> PpoJob:
    """Train with this bundle's rewards; `args` are the host's flags without the plugin's own.

    `max_actors`: a busy pool may grow to so many; None: it keeps to `n_actors`. `on_failure`: what happens where a
    reward cannot be had (`failures`). Raises `HostError`.
    """
    require_host()
    check_policy(on_failure, args)
    on = on or device()
    run_dir = run_dir.resolve()
    run_dir.mkdir(parents=True, exist_ok=True)
    args = {**_plugin_flag(plugin), "logger.tensorboard_dir": str(run_dir / "tensorboard"), **args}
    extra = {
        "PERSONA_RM_BUNDLE": str(bundle.resolve()),
        "PERSONA_RM_RUN": str(run_dir),
        "PERSONA_RM_LABELS": labels,
        "PERSONA_RM_DEADLINE": str(deadline),
        "PERSONA_RM_ON_FAILURE": on_failure,
        "PERSONA_RM_NAMESPACE": os.environ.get("PERSONA_RM_NAMESPACE", NAMESPACE),
    }
    env = environment(on, extra=extra, gpus=gpus_needed(args))
    _clear(run_dir, goes_on=_goes_on(args))
    policy = Policy(n_actors, max_actors or n_actors, stuck_after=max(deadline / 3, 10.0))
    namespace = extra["PERSONA_RM_NAMESPACE"]
    with cluster(env, on, gpus_needed(args), policy.max_actors + wants_inference(bundle)) as access:
        pool = start_pool(bundle, n_actors, num_gpus=reward_gpus, run_dir=run_dir, namespace=namespace, policy=policy)
        try:
            seconds = _host(args, {**env, **access}, run_dir, echo)
        finally:
            pool.stop()
    logs = tuple(sorted((run_dir / LOG_FOLDER).glob("*.jsonl")))
    run = PpoJob(seconds, run_dir / "ppo.log", Path(str(args["logger.tensorboard_dir"])), logs)
    if on_failure == "skip_group":
        _check_skipped(run)
    _check_rollouts(run)
    return run


def check_policy(on_failure: OnFailure, args: Mapping[str, Any]) -> None:
    """Raises `HostError` where the host could not leave out a group, and would train on one without reward."""
    if on_failure != "stop" and (problem := cannot_skip(args)):
        raise HostError(f"asked for on_failure {on_failure!r}, and {problem}, or on_failure to 'stop'")


def _goes_on(args: Mapping[str, Any]) -> bool:
    """True where the host will load a checkpoint of its own; samples since then will be in our log a second time."""
    return bool(args.get("ckpt.load_enable")) and (Path(str(args.get("ckpt.path"))) / "_actor").is_dir()


def _clear(run_dir: Path, *, goes_on: bool) -> None:
    """Forget an interrupted attempt: its failures, and its samples unless the host goes on from its checkpoint."""
    (run_dir / FAILURES).unlink(missing_ok=True)
    if not goes_on:
        (run_dir / SKIPPED).unlink(missing_ok=True)
        shutil.rmtree(run_dir / LOG_FOLDER, ignore_errors=True)


def _plugin_flag(plugin: Plugin) -> dict[str, str]:
    flag = "reward.remote_url" if plugin == "reward" else "train.agent_func_path"
    return {flag: str(where("openrlhf", plugin))}


def _host(args: Mapping[str, Any], env: Mapping[str, str], run_dir: Path, echo: bool) -> float:
    """Run it; where a plugin stopped the job, its reason comes first."""
    try:
        return run_host(ppo_command(args), env, run_dir / "ppo.log", echo)
    except HostError as error:
        failures = run_dir / FAILURES
        if not failures.is_file():
            raise
        first = json.loads(failures.read_text(encoding="utf-8").splitlines()[0])
        raise HostError(
            f"a reward could not be computed, so the job was stopped: {first['reason']}\n{error}"
        ) from error


def _check_skipped(run: PpoJob) -> None:
    """Say what was left out. Where every group was, the host ends well without one step: that is a failure."""
    if skipped := run.skipped():
        reason = skipped[0]["reason"]
        logger.warning("%d samples had no reward, and their groups were left out; the first: %s", len(skipped), reason)
        if not re.search(r"Global step \d", run.log.read_text(encoding="utf-8", errors="replace")):
            found = f"{len(skipped)} samples had no reward, and the host dropped every group"
            raise HostError(f"the job ended well but trained on nothing: {found}. The first: {reason}. Log: {run.log}")


def _check_rollouts(run: PpoJob) -> None:
    """Weights that never reached vLLM give empty answers from the second step on, and exit code 0."""
    samples = run.samples()
    if not samples:
        raise HostError(f"the job ended well but asked for no reward. Log: {run.log}")
    late = samples[len(samples) // 2 :]
    if len(samples) >= 8 and all(row["empty"] for row in late):
        raise HostError(f"every answer of the second half is empty: did the weights reach vLLM? Log: {run.log}")


@contextmanager
def cluster(env: Mapping[str, str], on: Device, gpus: int, n_actors: int) -> Iterator[Mapping[str, str]]:
    """The variables by which another process joins the cluster to use: the one that RAY_ADDRESS names, joined as it
    is, else one that lives as long as this block and that only this user's processes can reach (`local_ray`).

    Its workers get `env`, without what only the host's own start may see. It has its own folder: several clusters can
    share a machine.
    """
    if (address := os.environ.get("RAY_ADDRESS")) and address != "local":
        with _connected(address):
            yield {"RAY_ADDRESS": address}
        return
    folder, tag = tempfile.mkdtemp(prefix="prm-"), uuid.uuid4().hex
    resources: dict[str, Any] = {"num_gpus": gpus, "num_cpus": gpus + 3 + n_actors} if on == "cpu" else {}
    workers = {k: v for k, v in env.items() if k not in HOST_ONLY} | {TAG: tag}
    options: dict[str, Any] = {"namespace": NAMESPACE, "_temp_dir": folder, "logging_level": "warning", **resources}
    try:
        with local_ray(workers, **options) as access:
            yield access
    finally:
        end_leftovers(tag)
        shutil.rmtree(folder, ignore_errors=True)


def end_leftovers(tag: str, patience: float = 10.0) -> list[int]:
    """End what a cluster leaves behind (vLLM's workers outlive a killed engine) and return their process ids.

    Only processes of ours that carry this cluster's tag in their environment, each by its id. Linux only.
    """
    found = _tagged(tag)
    for sign in (signal.SIGTERM, signal.SIGKILL):
        for pid in _tagged(tag):
            with suppress(ProcessLookupError):
                os.kill(pid, sign)
        end = time.monotonic() + patience
        while _tagged(tag) and time.monotonic() < end:
            time.sleep(0.1)
    return found


def _tagged(tag: str) -> list[int]:
    """Living processes, not this one, whose environment has the tag."""
    wanted, out = f"{TAG}={tag}".encode(), []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            pid = int(folder.name)
            if pid != os.getpid() and wanted in (folder / "environ").read_bytes().split(b"\0"):
                out.append(pid)
    return out


@contextmanager
def _connected(address: str) -> Iterator[None]:
    import ray

    ours = not ray.is_initialized()
    if ours:
        ray.init(address=address, namespace=NAMESPACE, log_to_driver=False, runtime_env=worker_python() or None)
    try:
        yield
    finally:
        if ours:
            ray.shutdown()
