"""The principal directions of each block of features: fewer numbers that say nearly the same."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from persona_rm.methods.pairwise import Floats


def block_directions(vectors: npt.NDArray[np.floating], widths: Sequence[int], rank: int) -> Floats:
    """The principal directions of each block (eigenvectors of its covariance over texts): shape (width, q), zero
    between blocks."""
    columns: list[Floats] = []
    start, size = 0, vectors.shape[1]
    for width in widths:
        part = np.asarray(vectors[:, start : start + width], np.float64)
        if width > rank:
            centred = part - part.mean(0)
            _, directions = np.linalg.eigh(centred.T @ centred)
            kept = directions[:, ::-1][:, :rank]
            # The sign of an eigenvector is arbitrary; a fixed one makes the fit the same on every machine.
            kept = kept * np.where(kept[np.abs(kept).argmax(0), np.arange(rank)] < 0, -1.0, 1.0)
        else:
            kept = np.eye(width)
        column = np.zeros((size, kept.shape[1]))
        column[start : start + width] = kept
        columns.append(column)
        start += width
    return np.concatenate(columns, axis=1)
