"""Robust regression of one worker whose samples are sparse: the formulas of `regression`, rows in CSR form.

Row i holds values[k] in column indices[k] for indptr[i] <= k < indptr[i + 1].
"""

import math

import numpy as np

from .._jit import kernel
from ..updates import dot
from .regression import finish, logistic_slope


@kernel
def logistic_operator(out, values, indices, indptr, y, weight, lam, beta, z):
    """F at z = (w, r) for l(u, y) = log(1 + exp(-y u)), in one pass over the nonzeros.

    out[:d] = weight (sum_i c_i X_i + (sum_i c_i) r) + lam w,  out[d:] = beta r - weight (sum_i c_i) w,
    with c_i = l'(u_i, y_i) = -y_i / (1 + exp(y_i u_i)) and u_i = X_i.w + r.w.

    Parameters
    ----------
    out, z : (2 d,) float32 or float64
        Must not overlap.
    values : (nonzeros,)
    indices : (nonzeros,) uint32
        Below d.
    indptr : (N_m + 1,) int64
    y : (N_m,)
        Labels -1 and 1.
    weight : float
        M / N: workers over samples of all workers.
    lam, beta : float
    """
    d = out.size // 2
    w, top = z[:d], out[:d]
    shift = dot(w, z[d:])
    top[:] = 0.0
    total = 0.0
    for i in range(y.size):
        c = logistic_slope(_row_dot(values, indices, indptr, i, w) + shift, y[i])
        _row_add(top, values, indices, indptr, i, c)
        total += c
    finish(out, total, weight, lam, beta, z)


@kernel
def square_operator(out, values, indices, indptr, y, weight, lam, beta, z):
    """F at z = (w, r) for l(u, y) = (u - y)^2 / 2; arguments as in `logistic_operator`, with real y."""
    d = out.size // 2
    w, top = z[:d], out[:d]
    shift = dot(w, z[d:])
    top[:] = 0.0
    total = 0.0
    for i in range(y.size):
        c = _row_dot(values, indices, indptr, i, w) + shift - y[i]
        _row_add(top, values, indices, indptr, i, c)
        total += c
    finish(out, total, weight, lam, beta, z)


@kernel
def absolute_gram(out, values, indices, indptr, v):
    """out = |X|' |X| v, shape (d,), with |X| the matrix of magnitudes."""
    out[:] = 0.0
    for i in range(indptr.size - 1):
        u = 0.0
        for k in range(indptr[i], indptr[i + 1]):
            u += abs(values[k]) * v[indices[k]]
        for k in range(indptr[i], indptr[i + 1]):
            out[indices[k]] += abs(values[k]) * u


@kernel
def row_norms(out, values, indices, indptr):
    """out[i] = |X_i|."""
    for i in range(out.size):
        total = 0.0
        for k in range(indptr[i], indptr[i + 1]):
            total += np.float64(values[k]) * np.float64(values[k])
        out[i] = math.sqrt(total)


@kernel
def column_squares(out, values, indices):
    """out[j] = sum_i X_ij^2."""
    out[:] = 0.0
    for k in range(values.size):
        out[indices[k]] += values[k] * values[k]


@kernel
def scale_columns(values, indices, scales):
    """X_ij becomes scales[j] X_ij."""
    for k in range(values.size):
        values[k] *= scales[indices[k]]


@kernel
def take_rows(values, indices, indptr, from_values, from_indices, from_indptr, rows):
    """Copy row rows[i] of the second matrix to row i of the first, whose indptr is known."""
    for i in range(rows.size):
        source = from_indptr[rows[i]]
        for k in range(indptr[i], indptr[i + 1]):
            values[k] = from_values[source]
            indices[k] = from_indices[source]
            source += 1


@kernel
def _row_dot(values, indices, indptr, i, w):
    """Row i times w, summed in float64."""
    total = 0.0
    for k in range(indptr[i], indptr[i + 1]):
        total += np.float64(values[k]) * np.float64(w[indices[k]])
    return total


@kernel
def _row_add(out, values, indices, indptr, i, c):
    """out += c X_i."""
    for k in range(indptr[i], indptr[i + 1]):
        out[indices[k]] += c * values[k]
