"""The Ray cluster of a test session, in a process of its own.

A process can be connected to one cluster only. The shared cluster lives in another process, so that tests of this one
can start a cluster of their own between modules that use the shared one, and a test that goes wrong cannot end it.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from persona_rm.cluster.ray_start import _closed_mode, _read_again, connect, environment, local_ray

CPUS = 4
"""CPUs that the cluster claims to have, whatever the machine has: tests of pools fill and exhaust them."""


@contextmanager
def shared_cluster() -> Iterator[Mapping[str, str]]:
    """A cluster that lives as long as this block; yields the variables by which another process joins it."""
    command = [sys.executable, "-m", "tests.shared_ray"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = process.stdout.readline()
        assert said, f"the cluster did not start; its process ended with {process.wait(60)}"
        yield json.loads(said)
    finally:
        process.communicate(timeout=60)  # closes its stdin, which is what it waits for


@contextmanager
def joined(access: Mapping[str, str], **options: Any) -> Iterator[Mapping[str, str]]:
    """This process is connected to the cluster, and processes that it starts can join it. `options` are those of
    `ray.init`."""
    import ray

    try:
        with environment({**os.environ, **access}), _closed_mode():
            try:
                connect(address=access["RAY_ADDRESS"], logging_level="error", **options)
                yield access
            finally:
                ray.shutdown()
    finally:
        _read_again()


def main() -> None:
    """Hold a cluster until the standard input is closed, also by the death of the process that started this one."""
    # Ray would start a Python for every CPU at once; tests have fewer cores than the cluster claims.
    lazy = {"RAY_prestart_worker_first_driver": "0"}
    with local_ray({**os.environ, **lazy}, num_cpus=CPUS, num_gpus=0, logging_level="error") as access:
        sys.stdout.write(json.dumps(dict(access)) + "\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    main()
