"""Weights that were tampered with are refused with the file and the array."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from persona_rm.errors import DataError
from persona_rm.io.weight_arrays import read_arrays


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"other": np.ones(2)}, "it lacks this array (it has: other)"),
        ({"w": np.ones((2, 2))}, "an array of 1 dimensions is expected, found the shape (2, 2)"),
        ({"w": np.array([1.0, np.nan])}, "values that are not finite"),
        (None, "not the weights of it"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, arrays: dict[str, np.ndarray] | None, problem: str) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(b"\xff" * 64) if arrays is None else save_file(arrays, path)
    with pytest.raises(DataError) as raised:
        read_arrays(path, "the weights of it", {"w": 1})
    assert problem in str(raised.value)
    assert str(path) in str(raised.value)
