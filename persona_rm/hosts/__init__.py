"""The trainers (hosts) that take rewards from this library.

Each host has one package here, which holds everything that knows its flags, its labels and its payloads, and one
folder under `plugins/` with the thin files that the host loads by path. `common` holds what hosts share: processes,
locks, the environment and the Ray cluster.
"""

from persona_rm.hosts.base import Host
from persona_rm.registry import Registry

HOSTS = Registry("persona_rm.hosts", {"openrlhf": "persona_rm.hosts.openrlhf.host:OpenRLHF"})
DEFAULT_HOST = "openrlhf"
"""The host of a recipe that names none."""


def load_host(name: str = DEFAULT_HOST) -> Host:
    """The host of that name. Raises `UnknownName` if no table and no entry point has it."""
    host: Host = HOSTS.load(name)()
    return host
