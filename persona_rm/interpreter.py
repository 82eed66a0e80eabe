"""How Ray starts the Python of its workers."""

import re
import shlex
import sys
from pathlib import Path


def worker_python() -> dict[str, str]:
    """The entry of Ray's `runtime_env` for an interpreter whose path has spaces or other signs of the shell.

    Ray hands the path to a shell as it is, so workers of an environment in "my projects/.venv" would never start.
    Empty for every other path: then the workers of a cluster of several machines use their own machine's.
    """
    quoted = shlex.quote(sys.executable)
    return {} if quoted == sys.executable else {"py_executable": quoted}


def fault_of_path() -> str:
    """What is wrong with the path of this environment, and what to do; empty if nothing is.

    torch.compile hands the path to the compiler without quotes, and LD_PRELOAD, which vLLM sets on a CPU, has none:
    both fail if there is a space in it.
    """
    if not re.search(r"\s", sys.prefix):
        return ""
    real = Path(sys.prefix).resolve()
    what = f"this environment lies at a path with a space ({sys.prefix}), where torch.compile and vLLM fail"
    if re.search(r"\s", str(real)):
        return f"{what}. Make one elsewhere: make install VENV=/path/without/spaces"
    return f"{what}. It is a link to {real}: source {real}/bin/activate, and start the same command again"
