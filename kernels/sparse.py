"""Sparse messages added to dense vectors."""

import numpy as np

from ._jit import kernel


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
    scale = np.float64(scale)
    for j in range(index.size):
        i = np.uint64(index[j])  # unsigned: no branch for negative indices
        out[i] += scale * values[j]
