"""Products of bf16 matrices in float32 on a CPU without bf16 instructions (AVX2 only), as in most laptops.

Reason: train_dpo.py:208-211, OpenRLHF trains in bf16 or fp16 only. Without AVX-512 or AMX, torch has no fast bf16
product: it takes 5 to 12 times as long as in float32. Both ways add in float32 and round the sum to bf16, so the
results are equal up to the order of additions.
Without the patch: a step of DPO takes 11 seconds instead of 1 (`tests/perf/bf16_products.py`).
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any


def patch(torch: ModuleType) -> None:
    """Patches `linear` and attention, the products of a transformer. Autograd passes gradients through the casts."""
    if torch.cuda.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return
    functional = torch.nn.functional
    functional.linear = in_float32(functional.linear, torch)
    functional.scaled_dot_product_attention = in_float32(functional.scaled_dot_product_attention, torch)


def in_float32(function: Callable[..., Any], torch: ModuleType) -> Callable[..., Any]:
    """`function` with its bf16 tensors cast to float32 and its result cast back. Calls without bf16 tensors pass."""

    def is_narrow(value: Any) -> bool:
        return isinstance(value, torch.Tensor) and value.dtype is torch.bfloat16

    def called(*args: Any, **kwargs: Any) -> Any:
        if not any(map(is_narrow, (*args, *kwargs.values()))):
            return function(*args, **kwargs)
        wide = [value.float() if is_narrow(value) else value for value in args]
        named = {name: value.float() if is_narrow(value) else value for name, value in kwargs.items()}
        return function(*wide, **named).bfloat16()

    return called
