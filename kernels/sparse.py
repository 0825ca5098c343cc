"""Sparse messages added to dense vectors."""

import numpy as np

from ._jit import kernel
from .hints import fetch_to_write

AHEAD = 64  # entries between what is added and what is fetched


@kernel
def scatter_add(out, index, values, scale):
    """out[index[j]] += scale * values[j], in the order of j.

    Parameters
    ----------
    out : (n,) float32 or float64
    index : (k,) uint32 or uint64
        May repeat.
    values : (k,) float32 or float64
    scale : float
    """
    scale, ahead = np.float64(scale), max(index.size - AHEAD, 0)
    for j in range(ahead):
        fetch_to_write(out, np.uint64(index[j + AHEAD]))
        i = np.uint64(index[j])  # unsigned: no branch for negative indices
        out[i] += scale * values[j]
    for j in range(ahead, index.size):
        out[np.uint64(index[j])] += scale * values[j]
