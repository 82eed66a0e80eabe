"""What a user is rewarded for, measured from rewards alone."""

import numpy as np
import numpy.typing as npt

from persona_rm.errors import DataError


def rewarded_for(levels: npt.ArrayLike, rewards: npt.ArrayLike, ridge: float = 1.0) -> npt.NDArray[np.float64]:
    """How much one step of intensity raises the reward, per dimension, scaled so that the largest is 1 in size.

    `levels` (n answers, d dimensions) in 1..3, `rewards` (n,). The coefficients of a ridge regression of standardised
    rewards on level - 2: an answer that differs on several dimensions at once is not credited to one of them. All
    values are 0 if the rewards do not differ. Raises `DataError` on shapes that do not fit.
    """
    x, y = np.asarray(levels, np.float64) - 2, np.asarray(rewards, np.float64)
    if x.ndim != 2 or y.shape != (len(x),):
        raise DataError(f"expected levels (n, d) and rewards (n,), found {x.shape} and {y.shape}")
    # Centred in place of an intercept, which the ridge would shrink.
    x, y = x - x.mean(axis=0), y - y.mean()
    if not y.std() > 0:
        return np.zeros(x.shape[1])
    # The ridge also makes the system solvable if there are fewer answers than dimensions.
    weights = np.linalg.solve(x.T @ x + ridge * np.eye(x.shape[1]), x.T @ (y / y.std()))
    return np.asarray(weights / max(np.abs(weights).max(), 1e-12))
