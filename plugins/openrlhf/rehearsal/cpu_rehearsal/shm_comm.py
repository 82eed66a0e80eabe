"""Disables DeepSpeed's all-reduce in shared memory: a rehearsal has one process, so there is nothing to reduce.

Reason: deepspeed/comm/torch.py:191 compiles it when the first process group is made.
Without the patch: the first job on a machine starts half a minute later.
"""

from types import ModuleType


def patch(comm: ModuleType) -> None:
    """Builds no operator. DeepSpeed then uses torch.distributed, as on a GPU."""
    comm.build_shm_op = lambda: None
