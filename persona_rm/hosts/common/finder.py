"""Where the plugin files of a host are; `persona-rm where HOST` prints it."""

from pathlib import Path
from typing import Literal

from persona_rm.errors import HostError

PluginPart = Literal["reward", "agent", "rehearsal"]
_PARTS = {"reward": "reward_func.py", "agent": "agent_func.py", "rehearsal": "rehearsal"}


def _roots(package: Path | None = None) -> list[Path]:
    """The checkout's folder comes first, because an editable install can keep a stale copy inside the package."""
    package = package or Path(__file__).resolve().parents[2]
    return [package.parent / "plugins", package / "_plugins"]


def hosts(package: Path | None = None) -> list[str]:
    """The names of the hosts that have a plugin here."""
    folders = [p for root in _roots(package) if root.is_dir() for p in root.iterdir()]
    return sorted({p.name for p in folders if p.is_dir() and not p.name.startswith(("_", "."))})


def where(host: str, part: PluginPart = "reward", *, package: Path | None = None) -> Path:
    """The file (for "rehearsal": the folder) that the host is given. Raises `HostError` if there is none; the message
    lists the hosts that have one."""
    for root in _roots(package):
        path = root / host / _PARTS[part]
        if path.exists():
            return path
    names = ", ".join(hosts(package)) or "none: the package was installed without its plugins"
    raise HostError(f"no {part} plugin for host {host!r}; hosts with plugins: {names}")
