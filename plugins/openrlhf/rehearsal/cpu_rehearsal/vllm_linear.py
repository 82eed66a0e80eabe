"""vLLM's CPU linear layers keep their weights where `load_weights` can reach them.

Forced by: vllm/model_executor/layers/utils.py, `dispatch_cpu_unquantized_gemm`, which prepacks for oneDNN on a
CPU with AVX-512 or AMX and drops the weight together with its loader. On AVX2 it is not needed and changes nothing but
the call path.
"""

from types import ModuleType
from typing import Any


def patch(module: ModuleType) -> None:
    """Replace the dispatcher by torch's own linear."""
    import torch

    def dispatch_cpu_unquantized_gemm(layer: Any, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    module.dispatch_cpu_unquantized_gemm = dispatch_cpu_unquantized_gemm
