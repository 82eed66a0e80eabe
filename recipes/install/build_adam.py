"""Compiles the CPU Adam of DeepSpeed, which every training on a CPU steps with: beside pip, not in the first job."""

import os

from deepspeed.ops.op_builder.cpu import CPUAdamBuilder

from persona_rm.host.locks import remove_stale_locks

remove_stale_locks(os.environ)
CPUAdamBuilder().load()
