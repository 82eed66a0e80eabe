"""Ray for construction: started quietly where nobody has, with errors that are the library's own."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from persona_rm.errors import HostError, PersonaRMError
from persona_rm.terminal import make_console
from persona_rm.workers import worker_python

PACKAGE = Path(__file__).parents[3]

console = make_console(stderr=True)


@contextmanager
def cluster() -> Iterator[Any]:
    """Ray with its Data library: the running cluster (`RAY_ADDRESS`, a submitted job), or one of this machine.

    A Ray that was started here is ended here: whoever comes next (the reward actors) starts their own.
    """
    import ray
    import ray.data

    ours = not ray.is_initialized()
    if ours:
        environment = {"env_vars": {"PYTHONPATH": str(PACKAGE), "HF_HUB_OFFLINE": "1"}}
        start_ray(logging_level=logging.ERROR, runtime_env=environment)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.raise_original_map_exception = True
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def start_ray(tries: int = 3, **options: Any) -> None:
    """A cluster of this machine, or the one that `options` name. Ray gives its first process a fixed 30 seconds, which
    a busy machine can miss: hence several tries. Raises `HostError`."""
    import ray

    if python := worker_python():
        options["runtime_env"] = {**python, **options.get("runtime_env", {})}
    warnings.filterwarnings("ignore", "Tip: In future versions of Ray", FutureWarning)
    for left in reversed(range(tries)):
        try:
            ray.init(include_dashboard=False, log_to_driver=False, **options)
            return
        except Exception as error:
            if left == 0 or "timed out during startup" not in str(error):
                raise HostError(f"no Ray cluster could be started here: {error}") from error
            console.print(f"Ray did not start within its 30 seconds on this busy machine; {left} tries left")


def own(error: BaseException | None) -> PersonaRMError | OSError | None:
    """The library's own error, or the system's (a full disk), behind Ray's wrappers, which carry it as `cause`."""
    while error is not None:
        cause = getattr(error, "cause", None)
        if found := next((e for e in (cause, error) if isinstance(e, PersonaRMError | OSError)), None):
            return found
        error = cause if isinstance(cause, BaseException) else error.__cause__
    return None
