"""The process group that sends trained weights to vLLM uses gloo instead of NCCL.

Reason: utils/distributed_util.py:13-26 builds a `PyNcclCommunicator`.
Without the patch there is no error: without NCCL the communicator is disabled, `broadcast` does nothing, vLLM loads
uninitialised memory, every later rollout is `<pad>`, and the exit code is 0.
"""

from datetime import timedelta
from types import ModuleType
from typing import Any

TIMEOUT = timedelta(minutes=5)


class GlooCommunicator:
    """The part of a communicator that OpenRLHF uses: it exists on every rank and broadcasts from one."""

    def __init__(self, address: str, port: int, rank: int, world_size: int) -> None:
        import torch.distributed as dist

        self.store = dist.TCPStore(address, port, world_size, is_master=rank == 0, timeout=TIMEOUT)
        self.group = dist.ProcessGroupGloo(dist.PrefixStore("weight_sync", self.store), rank, world_size, TIMEOUT)

    def broadcast(self, tensor: Any, src: int, stream: Any = None) -> None:
        """Blocks until every rank has the `tensor` of rank `src`. Raises an error after a timeout."""
        import torch.distributed as dist

        options = dist.BroadcastOptions()
        options.rootRank, options.rootTensor = src, 0
        self.group.broadcast([tensor], options).wait()


def patch(module: ModuleType) -> None:
    """Replaces the factory, which ppo_actor.py and vllm_worker_wrap.py import from this module."""

    def stateless_init_process_group(
        master_address: str, master_port: int, rank: int, world_size: int, device: Any
    ) -> GlooCommunicator:
        return GlooCommunicator(master_address, master_port, rank, world_size)

    module.stateless_init_process_group = stateless_init_process_group
