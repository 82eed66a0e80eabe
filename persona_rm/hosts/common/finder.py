"""Where the plugin files are: `--reward.remote_url "$(persona-rm where openrlhf)"`."""

from pathlib import Path
from typing import Literal

from persona_rm.errors import HostError

PluginPart = Literal["reward", "agent", "rehearsal"]
_PARTS = {"reward": "reward_func.py", "agent": "agent_func.py", "rehearsal": "rehearsal"}


def _roots(package: Path | None = None) -> list[Path]:
    """The checkout's folder first: an editable install can keep a stale copy inside the package."""
    package = package or Path(__file__).resolve().parents[2]
    return [package.parent / "plugins", package / "_plugins"]


def hosts(package: Path | None = None) -> list[str]:
    """The hosts that have a plugin here."""
    folders = [p for root in _roots(package) if root.is_dir() for p in root.iterdir()]
    return sorted({p.name for p in folders if p.is_dir() and not p.name.startswith(("_", "."))})


def where(host: str = "openrlhf", part: PluginPart = "reward", *, package: Path | None = None) -> Path:
    """The file (or, for "rehearsal", the folder) that `host` is given. Raises `HostError` on a miss, listing what
    exists."""
    for root in _roots(package):
        path = root / host / _PARTS[part]
        if path.exists():
            return path
    have = ", ".join(hosts(package)) or "none: the package was installed without its plugins"
    raise HostError(f"no {part} plugin for host {host!r}; hosts with plugins: {have}")
