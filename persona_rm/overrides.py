"""Settings of a command line that replace those of a recipe: `seed=1 source.path=FILE dpo.pba.args.adam.lr=1e-4`."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from persona_rm.errors import DataError, RecipeError
from persona_rm.io.yaml_file import parse_yaml
from persona_rm.registry import absolute_name


def apply_override(raw: dict[str, Any], override: str) -> None:
    """`source=reddit` replaces a member by its name; `source.path=FILE` then sets a key of it. A member in a file,
    `source=./my_source.py:MySource`, is relative to the working directory.

    Host flags are dotted themselves: everything after `args.` is one key.
    """
    key, found, value = override.partition("=")
    if not found or not key:
        raise RecipeError(f"an override reads a.b=c, found {override!r}")
    head, flag, tail = key.partition(".args.")
    parts = [*head.split("."), "args", tail] if flag else key.split(".")
    node = raw
    for part in parts[:-1]:
        below = node.setdefault(part, {})
        if isinstance(below, str):
            below = node[part] = {"name": below}
        if not isinstance(below, dict):
            raise RecipeError(f"override {override!r}: {part!r} is {below!r}, not a section")
        node = below
    try:
        new = parse_yaml(value)
    except DataError as error:
        raise RecipeError(f"override {override!r}: the value is {error.problem}") from error
    node[parts[-1]] = absolute_name(new) if isinstance(new, str) else new


def place_of(path: Path, overrides: Sequence[str], key: str) -> str:
    """What set the key at fault: the last override of it or of a section around it, else the recipe's file."""
    for override in reversed(overrides):
        changed = override.partition("=")[0]
        if key == changed or key.startswith(f"{changed}."):
            return f"override {override!r}"
    return str(path)
