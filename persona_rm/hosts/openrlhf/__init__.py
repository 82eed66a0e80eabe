"""OpenRLHF 0.11.2: its flags, its labels, its payloads, its launch order and its rehearsal on a CPU.

Nothing here imports the host: it runs as a process of its own. Places such as `utils/agent.py:304` are in the folder
`openrlhf/` of its release 0.11.2.
"""

from persona_rm.hosts.openrlhf.commands import (
    SUPPORTED,
    dpo_command,
    environment,
    flags,
    gpus_needed,
    host_version,
    ppo_command,
    require_host,
)
from persona_rm.hosts.openrlhf.rehearsal import rehearse
from persona_rm.hosts.openrlhf.silent_failures import SILENT, run_trainer

__all__ = [
    "SILENT",
    "SUPPORTED",
    "dpo_command",
    "environment",
    "flags",
    "gpus_needed",
    "host_version",
    "ppo_command",
    "rehearse",
    "require_host",
    "run_trainer",
]
