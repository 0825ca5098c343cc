"""Diagonal preconditioning by second moments; arrays are (n,), float32 or float64."""

import numpy as np

from ._jit import kernel


@kernel
def second_moment(v, keep, x):
    """v = keep v + (1 - keep) x^2, in place."""
    keep = np.float64(keep)
    for i in range(v.size):
        v[i] = keep * v[i] + (1 - keep) * (np.float64(x[i]) * x[i])


@kernel
def divide_by_root(x, v, correction, damping):
    """x = x / (sqrt(correction v) + damping), in place."""
    correction, damping = np.float64(correction), np.float64(damping)
    for i in range(x.size):
        x[i] = x[i] / (np.sqrt(correction * v[i]) + damping)
