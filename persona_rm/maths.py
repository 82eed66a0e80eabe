"""Small numerical functions that several parts of the library share."""

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow for any finite number."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def sigmoids(x: Floats) -> Floats:
    """`sigmoid` of every number of an array."""
    # exp overflows beyond 709; at 700 the result is 0 or 1 to the last digit of its type.
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -700, 700))))
