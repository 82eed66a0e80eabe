"""The buffer in which a vLLM worker receives a weight is on the CPU, although OpenRLHF asks for "cuda".

Reason: trainer/ray/vllm_worker_wrap.py:40, `torch.empty(shape, dtype=dtype, device="cuda")`.
Without the patch: an AssertionError in the worker, and the driver waits forever.
"""

from types import ModuleType
from typing import Any


def patch(module: ModuleType) -> None:
    """Wraps `WorkerWrap.update_weight`, so that `device="cuda"` means "cpu" inside it."""
    from torch.overrides import TorchFunctionMode

    class CudaMeansCpu(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            kwargs = dict(kwargs or {})
            if kwargs.get("device") == "cuda":
                kwargs["device"] = "cpu"
            return func(*args, **kwargs)

    original = module.WorkerWrap.update_weight

    def update_weight(self: Any, *args: Any, **kwargs: Any) -> None:
        with CudaMeansCpu():
            original(self, *args, **kwargs)

    module.WorkerWrap.update_weight = update_weight
