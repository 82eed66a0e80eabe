"""Arrays of numbers as text inside a user state: base64 of little-endian 32-bit floats, a fifth of a JSON list."""

import base64
import binascii

import numpy as np
import numpy.typing as npt

from persona_rm.errors import DataError
from persona_rm.types import UserState

CODED = "<f4"
Floats = npt.NDArray[np.float64]


def encoded(numbers: Floats) -> str:
    """The numbers as text for a state, row by row."""
    return base64.b64encode(np.ascontiguousarray(numbers, CODED).tobytes()).decode()


def decoded(state: UserState, key: str) -> Floats:
    """The numbers of a state, flat. Raises `DataError` if the payload is of another kind."""
    try:
        numbers = np.frombuffer(base64.b64decode(state.payload[key], validate=True), CODED)
    except (KeyError, TypeError, ValueError, binascii.Error) as error:
        problem = f"the state of user {state.user_id!r} does not hold {state.method}'s {key}: {error}"
        raise DataError(problem) from error
    return numbers.astype(np.float64)
