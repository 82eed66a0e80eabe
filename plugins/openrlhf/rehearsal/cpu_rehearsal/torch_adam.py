"""torch's Adam instead of DeepSpeed's FusedAdam, which must be compiled. Both compute the same update.

Reason: utils/deepspeed/deepspeed_utils.py:70-73, where DeepSpeed picks its FusedAdam and compiles it for a CPU.
Without the patch: the first job on a machine starts a minute later. `ds.adam_offload` is not affected.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any


def patch(module: ModuleType) -> None:
    """Adds DeepSpeed's own switch `torch_adam` to the optimizer's section of the host's configuration."""
    module.get_train_ds_config = with_torch_adam(module.get_train_ds_config)


def with_torch_adam(get_config: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """`get_config` with torch's Adam, unless Adam is offloaded. Muon, or no optimizer, is not changed."""

    def called(*args: Any, **kwargs: Any) -> dict[str, Any]:
        config = get_config(*args, **kwargs)
        optimizer = config.get("optimizer")
        offloaded = config["zero_optimization"]["offload_optimizer"]["device"] != "none"
        if optimizer and optimizer["type"] in ("Adam", "AdamW") and not offloaded:
            config["optimizer"] = {**optimizer, "params": {**optimizer["params"], "torch_adam": True}}
        return config

    return called
