"""The patches with which OpenRLHF 0.11.2 runs without a GPU: one file each, whose docstring says why it is needed."""

import sys
from pathlib import Path
from types import ModuleType

from cpu_rehearsal import (
    bf16_products,
    shm_comm,
    torch_adam,
    torch_cuda,
    versions,
    vllm_linear,
    vllm_worker,
    weight_sync,
)
from cpu_rehearsal.hooks import Patch, PostImport


def _torch(torch: ModuleType) -> None:
    torch_cuda.patch(torch)
    bf16_products.patch(torch)


def _without_cuda(patch: Patch) -> Patch:
    """`patch` if torch has no CUDA, else a function that does nothing."""

    def patched(module: ModuleType) -> None:
        import torch

        if not torch.cuda.is_available():
            patch(module)

    return patched


PATCHES = {
    "openrlhf": versions.check,
    "torch": _torch,
    "deepspeed.comm.torch": _without_cuda(shm_comm.patch),
    "openrlhf.utils.deepspeed.deepspeed_utils": _without_cuda(torch_adam.patch),
    "openrlhf.utils.distributed_util": _without_cuda(weight_sync.patch),
    "openrlhf.trainer.ray.vllm_worker_wrap": _without_cuda(vllm_worker.patch),
    "vllm.model_executor.layers.utils": _without_cuda(vllm_linear.patch),
}


def install() -> None:
    """Hooks every patch onto the import of its module. The `flash_attn` stub goes to the end of the path."""
    stubs = str(Path(__file__).resolve().parent.parent / "stubs")
    if stubs not in sys.path:
        sys.path.append(stubs)
    if not any(isinstance(finder, PostImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, PostImport(PATCHES))
