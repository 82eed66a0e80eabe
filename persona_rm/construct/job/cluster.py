"""Ray for construction: the running cluster, or one of this machine, with errors that are the library's own."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from persona_rm.cluster.ray_start import connect, local_ray, ray_address
from persona_rm.errors import PersonaRMError
from persona_rm.extras import extra_needed

PACKAGE = Path(__file__).parents[3]


@contextmanager
def cluster() -> Iterator[Any]:
    """Ray with its Data library: the running cluster (`RAY_ADDRESS`, a submitted job), or one of this machine.

    A cluster that was started here is stopped here: later jobs (the reward actors) start their own.
    """
    with extra_needed("construction", "data"):
        import ray
        import ray.data

    # A cluster that the caller has joined is used and left as it is.
    with nullcontext() if ray.is_initialized() else _started():
        context = ray.data.DataContext.get_current()
        # The stages have bars of their own (`worker_progress`).
        context.enable_progress_bars = False
        # `own` looks for the library's errors, so a stage's exception must come through as it is.
        context.raise_original_map_exception = True
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        yield ray


def _started() -> AbstractContextManager[Any]:
    # Workers import the package from the driver's folder, which need not be installed, and load models from disk only.
    environment = {"env_vars": {"PYTHONPATH": str(PACKAGE), "HF_HUB_OFFLINE": "1"}}
    options: dict[str, Any] = {"logging_level": logging.ERROR, "runtime_env": environment}
    return local_ray(**options) if ray_address() is None else _joined(options)


@contextmanager
def _joined(options: dict[str, Any]) -> Iterator[None]:
    import ray

    connect(**options)
    try:
        yield
    finally:
        ray.shutdown()


def own(error: BaseException | None) -> PersonaRMError | OSError | None:
    """The library's own error, or the system's (a full disk), behind Ray's wrappers, which carry it as `cause`."""
    while error is not None:
        cause = getattr(error, "cause", None)
        if known := next((e for e in (cause, error) if isinstance(e, PersonaRMError | OSError)), None):
            return known
        error = cause if isinstance(cause, BaseException) else error.__cause__
    return None
