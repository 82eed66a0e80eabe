"""Threads of the processes that compute at the same time on one machine: together no more than it has cores.

Threads of one OpenMP team wait for each other at every step. If another process holds one of the cores, all of them
wait for it: a language model that generates with two threads on two cores falls from 115 to 4 tokens a second beside
one busy process, and stays at 115 with one thread. So code that starts several processes divides the cores among them.
"""

import os
from collections.abc import Mapping
from pathlib import Path

CPU_MAX = Path("/sys/fs/cgroup/cpu.max")
"""The quota of a container: microseconds of CPU time per period of so many, or `max` for no quota."""


def cores() -> int:
    """The cores that this process may use: its CPU affinity, or the CPU quota of its container if that is less."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if CPU_MAX.is_file():
        quota, period = CPU_MAX.read_text(encoding="ascii").split()
        if quota != "max":
            allowed = min(allowed, int(quota) // int(period))
    return max(1, allowed)


def threads_each(processes: int) -> int:
    """The threads of each of `processes` that compute at the same time, at least 1."""
    return max(1, cores() // max(1, processes))


def thread_variables(processes: int, env: Mapping[str, str]) -> dict[str, str]:
    """The variables that give each of `processes` its threads; what `env` sets already stays as it is.

    vLLM on a CPU takes every core and binds its threads to them, whatever OMP_NUM_THREADS says, so that two engines
    share the same cores and leave others idle. `nobind` makes it follow OMP_NUM_THREADS.
    """
    ours = {"OMP_NUM_THREADS": str(threads_each(processes)), "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
    return {key: env.get(key, value) for key, value in ours.items()}
