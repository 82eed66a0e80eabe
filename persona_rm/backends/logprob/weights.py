"""A comparison of two sets of weights."""

from pathlib import Path
from typing import Any

from persona_rm.errors import HostError


def moved(before: Path, after: Path) -> float:
    """How far training moved the weights, relative to their norm. Raises `HostError` if it did not change them."""
    import torch
    from safetensors.torch import load_file

    old: dict[str, Any] = {}
    for file in sorted(before.glob("*.safetensors")):
        old |= load_file(file)
    new: dict[str, Any] = {}
    for file in sorted(after.glob("*.safetensors")):
        new |= load_file(file)
    # Tied weights may be stored under one name by one writer and under two by another.
    shared = old.keys() & new.keys()
    change = torch.stack([(new[key].float() - old[key].float()).norm() ** 2 for key in shared]).sum().sqrt()
    size = torch.stack([old[key].float().norm() ** 2 for key in shared]).sum().sqrt()
    share = float(change / size)
    # Written so that NaN fails, too.
    if not share > 0:
        raise HostError(f"training did not change the weights in {after} (change {share})")
    return share
