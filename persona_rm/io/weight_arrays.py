"""Arrays of safetensors files, read as input that may be damaged or tampered with."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from persona_rm.errors import DataError


def read_arrays(path: Path, what: str, needed: Mapping[str, int]) -> dict[str, npt.NDArray[Any]]:
    """The arrays of a file. `needed`: name -> number of dimensions, which the file must hold, all values finite.

    `what` names them in messages: "the weights of pooled". Raises `DataError` if the file is missing, damaged, or
    another one.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays: dict[str, npt.NDArray[Any]] = load_file(path)
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise DataError(f"not {what}: {error}", file=path) from error
    for name, dimensions in needed.items():
        if name not in arrays:
            has = ", ".join(sorted(arrays)) or "nothing"
            raise DataError(f"not {what}: it lacks this array (it has: {has})", file=path, key=name)
        if arrays[name].ndim != dimensions:
            problem = f"not {what}: an array of {dimensions} dimensions is expected"
            raise DataError(f"{problem}, found the shape {arrays[name].shape}", file=path, key=name)
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise DataError(f"not {what}: it holds values that are not finite", file=path, key=name)
    return arrays
