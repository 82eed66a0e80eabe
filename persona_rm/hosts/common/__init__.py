"""What hosts share: plugin files, processes, locks, the environment and the Ray cluster. Nothing here names a host."""

from persona_rm.hosts.common.env import device, free_port, host_environment, job_config
from persona_rm.hosts.common.finder import hosts, where
from persona_rm.hosts.common.process import command_line, run_host, silent_failure

__all__ = [
    "command_line",
    "device",
    "free_port",
    "host_environment",
    "hosts",
    "job_config",
    "run_host",
    "silent_failure",
    "where",
]
