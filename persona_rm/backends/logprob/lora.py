"""A policy that is a LoRA adapter shares the weights of its base model: the adapter is switched on or off."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from persona_rm.backends.logprob.causal import Model, inspect
from persona_rm.errors import MissingExtra, RecipeError

ADAPTER = "adapter_config.json"


def is_adapter(folder: str | Path) -> bool:
    """Whether this folder contains an adapter in peft's format instead of a model."""
    return (Path(folder) / ADAPTER).is_file()


def base_of(folder: str | Path) -> str:
    """The folder of the base model that the adapter names, absolute or relative to the adapter.

    Raises `RecipeError` if there is no such folder.
    """
    named = str(json.loads((Path(folder) / ADAPTER).read_text()).get("base_model_name_or_path") or "")
    for path in (Path(named), Path(folder) / named):
        if named and (path / "config.json").is_file():
            return str(path)
    raise RecipeError(
        f"the adapter at {folder} is for the base model {named!r}, and no folder of that name holds a config.json: "
        f"put the base model's folder into base_model_name_or_path of its {ADAPTER}"
    )


def same(one: str | Path, other: str | Path) -> bool:
    """Whether both paths lead to the same folder."""
    return Path(one).resolve() == Path(other).resolve()


def adapted(net: Any, folder: str | Path) -> tuple[Model, Model]:
    """(policy, reference): the base `net` with this adapter switched on, and the same network with it switched off."""
    try:
        from peft import PeftModel
    except ImportError as error:
        raise MissingExtra(f"{folder} is an adapter, and reading it needs peft: pip install peft") from error
    # By default peft raises half-precision adapters to float32. Here both models have the dtype of the base.
    wrapped = PeftModel.from_pretrained(net, str(folder), autocast_adapter_dtype=False)
    if any(config.is_prompt_learning for config in wrapped.peft_config.values()):
        raise RecipeError(f"the adapter at {folder} adds tokens to the prompt; one that changes weights is needed")
    wrapped.to(net.dtype).eval()
    # One probe is enough for both: an adapter changes weights, and neither the head nor the attention.
    policy = inspect(wrapped.get_base_model())
    return replace(policy, role="policy", active=nullcontext), replace(
        policy, role="reference", active=wrapped.disable_adapter
    )
