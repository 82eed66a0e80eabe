"""Log lines of OpenRLHF 0.11.2 after which it may exit with 0, or hang, although training is lost."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from persona_rm.hosts.common.process import REFUSED, run_host

SILENT = {
    # utils/agent.py:304 catches every exception of a reward and logs it at INFO.
    r"Failed to fetch reward from remote RM": "a reward raised; the host logs that as information and trains on",
    # trainer/ppo_utils/experience_maker.py:142.
    r"reward_model_group is required": "no sample had a reward",
    **REFUSED,
    # trainer/ppo_trainer.py:224 prints the first sample of every step.
    r"(<pad>\s*){8}": "rollouts are padding: the trained weights did not reach vLLM",
    # trainer/ppo_trainer.py:551 prints the figures of every step.
    r"'(?:rollout/reward_mean|policy_loss|actor_grad_norm|loss)': nan": "training has become NaN",
}
"""Pattern of a log line -> what it means. The job is ended at the first line that matches."""


def run_trainer(
    argv: Sequence[str],
    env: Mapping[str, str],
    log_path: Path,
    echo: bool = True,
    *,
    console: Console | None = None,
) -> float:
    """Run the host to its end; returns the seconds it took. Raises `HostError` if it fails, silently or not."""
    return run_host(argv, env, log_path, echo, console=console, silent=SILENT)
