"""The seam to OpenRLHF, seen from outside: its flags, its environment, its processes. Nothing here imports it."""

from persona_rm.hosts.common.env import device, environment, free_port, gpus_needed, job_config
from persona_rm.hosts.common.finder import hosts, where
from persona_rm.hosts.common.process import command_line, run_host, silent_failure
from persona_rm.hosts.openrlhf.commands import SUPPORTED, dpo_command, flags, host_version, ppo_command, require_host
from persona_rm.hosts.openrlhf.rehearsal import rehearse

__all__ = [
    "SUPPORTED",
    "command_line",
    "device",
    "dpo_command",
    "environment",
    "flags",
    "free_port",
    "gpus_needed",
    "host_version",
    "hosts",
    "job_config",
    "ppo_command",
    "rehearse",
    "require_host",
    "run_host",
    "silent_failure",
    "where",
]
