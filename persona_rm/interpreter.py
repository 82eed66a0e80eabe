"""How Ray starts the Python of its workers."""

import shlex
import sys


def worker_python() -> dict[str, str]:
    """The entry of Ray's `runtime_env` for an interpreter whose path has spaces or other signs of the shell.

    Ray hands the path to a shell as it is, so workers of an environment in "my projects/.venv" would never start.
    Empty for every other path: then the workers of a cluster of several machines use their own machine's.
    """
    quoted = shlex.quote(sys.executable)
    return {} if quoted == sys.executable else {"py_executable": quoted}
