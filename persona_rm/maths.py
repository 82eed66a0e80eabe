"""Small numerical functions that several parts of the library share."""

import math


def sigmoid(x: float) -> float:
    """1 / (1 + exp(-x)), without overflow for any finite number."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
