"""Linear layers of vLLM on a CPU keep their weights, so that `load_weights` can update them.

Reason: vllm/model_executor/layers/utils.py, `dispatch_cpu_unquantized_gemm`, which on a CPU with AVX-512 or
AMX packs the weight for oneDNN and drops the original together with its loader. On AVX2 the patch is not needed and
changes only the call path.
"""

from types import ModuleType
from typing import Any


def patch(module: ModuleType) -> None:
    """Replaces the dispatcher with torch's own linear."""
    import torch

    def dispatch_cpu_unquantized_gemm(layer: Any, remove_weight: bool) -> None:
        layer.cpu_linear = torch.nn.functional.linear

    module.dispatch_cpu_unquantized_gemm = dispatch_cpu_unquantized_gemm
