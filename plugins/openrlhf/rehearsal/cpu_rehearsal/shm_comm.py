"""DeepSpeed's own all-reduce in shared memory, left out: a rehearsal has one process and nothing to reduce over.

Forced by: deepspeed/comm/torch.py:191, which compiles it when the first process group is made.
Without it: the first job on a machine starts half a minute later.
"""

from types import ModuleType


def patch(comm: ModuleType) -> None:
    """No operator is built; DeepSpeed then uses torch.distributed, as on a GPU."""
    comm.build_shm_op = lambda: None
