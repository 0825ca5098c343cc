"""Matrices of low rank added to a vector, and Gaussian starts for finding them."""

import numpy as np

from .._jit import kernel
from ..hashing import uniform


@kernel
def gaussian(out, key):
    """out = independent standard normal numbers (Box and Muller, 1958) of the stream `key`; out is (k,)."""
    for i in range(out.size):
        radius = np.sqrt(-2.0 * np.log(1.0 - uniform(key, 2 * i)))
        out[i] = radius * np.cos(2.0 * np.pi * uniform(key, 2 * i + 1))


@kernel
def add_product(out, left, right, row, scale):
    """out += scale * (left^T right), read row by row; what lies beyond the end of `out` is dropped.

    Parameters
    ----------
    out : (n,) float32 or float64, n <= a b
    left : (R, a) float32 or float64
    right : (R, b) float32 or float64
    row : (b,) float64
        Scratch.
    scale : float
    """
    scale = np.float64(scale)
    for i in range(left.shape[1]):
        start = i * row.size
        count = min(row.size, out.size - start)
        row[:] = 0.0
        for r in range(left.shape[0]):
            factor = np.float64(left[r, i])
            for j in range(row.size):
                row[j] += factor * np.float64(right[r, j])
        for j in range(count):
            out[start + j] += scale * row[j]
