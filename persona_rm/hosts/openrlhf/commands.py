"""OpenRLHF's dotted flags from a YAML mapping, and the version of it that is installed."""

import re
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from persona_rm.errors import HostError, RecipeError

SUPPORTED = ("0.11.2",)
"""Versions whose code was read and run. The rehearsal patches carry the same list."""

CommandArgs = Mapping[str, Any]
_KEY = re.compile(r"[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)*", re.IGNORECASE)


def flags(args: CommandArgs) -> list[str]:
    """`{"train.batch_size": 8, "vllm.enforce_eager": true}` -> `["--train.batch_size", "8", "--vllm.enforce_eager"]`.

    True is a bare flag; False and None leave the flag out (the host has no negative flags); a list is several values.
    Raises `RecipeError` for a key that is no flag name and for a value that no flag can carry.
    """
    out: list[str] = []
    for key, value in args.items():
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise RecipeError(
                f"{key!r} is not a flag of the host: write it dotted and without dashes, e.g. train.batch_size"
            )
        if value is None or value is False:
            continue
        out.append(f"--{key}")
        if value is not True:
            out += [_text(key, one) for one in _values(value)]
    return out


def _values(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else [value]


def _text(key: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RecipeError(
            f"{key}: {value!r} cannot be given to the host; give a number, a text, true, false or a list of them"
        )
    return str(value)


def host_version() -> str | None:
    """The installed version of openrlhf, or None. Reads metadata; imports nothing."""
    try:
        return version("openrlhf")
    except PackageNotFoundError:
        return None


def require_host() -> str:
    """The version of the host, or `HostError` saying why it will not do."""
    found = host_version()
    if found is None:
        raise HostError(f"openrlhf is not installed here. Do: pip install --no-deps openrlhf=={SUPPORTED[-1]}")
    if found not in SUPPORTED:
        raise HostError(
            f"openrlhf {found} is installed; plugins and rehearsal were read against {', '.join(SUPPORTED)}, and "
            "what they rely on (how a reward is called, which errors are swallowed, how weights reach vLLM) changes "
            f"between versions without an error. Do: pip install --no-deps openrlhf=={SUPPORTED[-1]}"
        )
    return found


def dpo_command(args: CommandArgs) -> list[str]:
    """The unmodified DPO trainer with these flags."""
    return [sys.executable, "-m", "openrlhf.cli.train_dpo", *flags(args)]


def ppo_command(args: CommandArgs) -> list[str]:
    """The unmodified PPO trainer (REINFORCE++, GAE, GRPO, ...) with these flags."""
    return [sys.executable, "-m", "openrlhf.cli.train_ppo_ray", *flags(args)]
