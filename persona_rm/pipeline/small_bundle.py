"""A bundle that this machine can score: a tiny model in place of models that are too large for a CPU."""

from pathlib import Path
from typing import Any

import yaml

from persona_rm.bundle import Bundle, load_bundle
from persona_rm.bundle.bundle_file import YAML
from persona_rm.bundle.load import read_file
from persona_rm.hosts.common.env import Device

LARGE = 1 << 30
"""Bytes of weights from which a model is replaced where there is no GPU."""


def small_bundle(bundle: Bundle, folder: Path, model: Path, on: Device) -> tuple[Bundle, list[str]]:
    """The bundle as it is if this machine can score it, else a copy of its bundle.yaml in `folder` that points to the
    same users; and what changed and why."""
    file, changes = read_file(bundle.folder), list[str]()
    new: dict[str, Any] = {}
    if on == "cpu" and file.policy is not None:
        for key in ("policy", "reference"):
            given = getattr(file, key)
            if given is not None and (size := _weight_bytes(Path(given))) >= LARGE:
                new[key] = str(model)
                why = f"{size / LARGE:.0f} GiB of weights are too large for a CPU, so the rewards mean nothing"
                changes.append(f"bundle {key}: {given} -> {model}: {why}")
        if file.engine != "transformers":
            new |= {"engine": "transformers", "engine_options": {}}
            changes.append(f"bundle engine: {file.engine} -> transformers: the rollouts use the only vLLM here")
        if file.device not in ("auto", "cpu"):
            new["device"] = "auto"
            changes.append(f"bundle device: {file.device} -> auto: there is no GPU")
    if not new:
        return bundle, []
    content = file.model_dump(mode="json", exclude_unset=True) | {"users": str(bundle.folder / file.users)} | new
    folder.mkdir(parents=True, exist_ok=True)
    (folder / YAML).write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return load_bundle(folder), changes


def _weight_bytes(model: Path) -> int:
    """The size of a model's weight files."""
    files = [*model.glob("*.safetensors"), *model.glob("*.bin")]
    return sum(file.stat().st_size for file in files)
