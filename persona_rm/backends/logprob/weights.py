"""Two sets of weights side by side."""

from pathlib import Path

from persona_rm.errors import HostError


def moved(before: Path, after: Path) -> float:
    """How far training moved the weights, as a share of their norm. Raises `HostError` where it did not at all."""
    import torch
    from safetensors.torch import load_file

    old, new = (
        {key: value for file in sorted(path.glob("*.safetensors")) for key, value in load_file(file).items()}
        for path in (before, after)
    )
    shared = old.keys() & new.keys()
    change = torch.stack([(new[key].float() - old[key].float()).norm() ** 2 for key in shared]).sum().sqrt()
    size = torch.stack([old[key].float().norm() ** 2 for key in shared]).sum().sqrt()
    share = float(change / size)
    if not share > 0:
        raise HostError(f"training did not change the weights in {after} (change {share})")
    return share
