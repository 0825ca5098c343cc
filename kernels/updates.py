"""Linear combinations in one pass, evaluated left to right in float64 and rounded once to the dtype of `out`.

Arrays are (n,), float32 or float64, not necessarily alike; coefficients are scalars. `out` may be one of the inputs.
"""

import numpy as np

from ._jit import kernel


@kernel
def combine1(out, a, x):
    """out = a x."""
    a = np.float64(a)
    for i in range(out.size):
        out[i] = a * x[i]


@kernel
def combine2(out, a, x, b, y):
    """out = a x + b y."""
    a, b = np.float64(a), np.float64(b)
    for i in range(out.size):
        out[i] = a * x[i] + b * y[i]


@kernel
def combine3(out, a, x, b, y, c, z):
    """out = a x + b y + c z."""
    a, b, c = np.float64(a), np.float64(b), np.float64(c)
    for i in range(out.size):
        out[i] = a * x[i] + b * y[i] + c * z[i]


@kernel
def combine4(out, a, x, b, y, c, z, d, u):
    """out = a x + b y + c z + d u."""
    a, b, c, d = np.float64(a), np.float64(b), np.float64(c), np.float64(d)
    for i in range(out.size):
        out[i] = a * x[i] + b * y[i] + c * z[i] + d * u[i]


@kernel
def update1(c0, out, a, x):
    """out = c0 out + a x, in place."""
    c0, a = np.float64(c0), np.float64(a)
    for i in range(out.size):
        out[i] = c0 * out[i] + a * x[i]


@kernel
def update2(c0, out, a, x, b, y):
    """out = c0 out + a x + b y, in place."""
    c0, a, b = np.float64(c0), np.float64(a), np.float64(b)
    for i in range(out.size):
        out[i] = c0 * out[i] + a * x[i] + b * y[i]


@kernel
def update3(c0, out, a, x, b, y, c, z):
    """out = c0 out + a x + b y + c z, in place."""
    c0, a, b, c = np.float64(c0), np.float64(a), np.float64(b), np.float64(c)
    for i in range(out.size):
        out[i] = c0 * out[i] + a * x[i] + b * y[i] + c * z[i]


@kernel
def gather1(out, index, a, x):
    """out[j] = a x[index[j]]; out and index are (k,)."""
    a = np.float64(a)
    for j in range(out.size):
        i = np.uint64(index[j])  # unsigned: no branch for negative indices
        out[j] = a * x[i]


@kernel
def gather2(out, index, a, x, b, y):
    """out[j] = a x[index[j]] + b y[index[j]]; out and index are (k,)."""
    a, b = np.float64(a), np.float64(b)
    for j in range(out.size):
        i = np.uint64(index[j])
        out[j] = a * x[i] + b * y[i]


@kernel
def gather3(out, index, a, x, b, y, c, z):
    """out[j] = a x[index[j]] + b y[index[j]] + c z[index[j]]; out and index are (k,)."""
    a, b, c = np.float64(a), np.float64(b), np.float64(c)
    for j in range(out.size):
        i = np.uint64(index[j])
        out[j] = a * x[i] + b * y[i] + c * z[i]


@kernel
def gather4(out, index, a, x, b, y, c, z, d, u):
    """out[j] = a x[index[j]] + b y[index[j]] + c z[index[j]] + d u[index[j]]; out and index are (k,)."""
    a, b, c, d = np.float64(a), np.float64(b), np.float64(c), np.float64(d)
    for j in range(out.size):
        i = np.uint64(index[j])
        out[j] = a * x[i] + b * y[i] + c * z[i] + d * u[i]


@kernel
def sum_rows(out, rows, scale):
    """out[j] = scale * sum_m rows[m, j], added in the order of the rows in float64.

    Parameters
    ----------
    out : (n,) float32 or float64
    rows : (M, n) float32 or float64
    scale : float
    """
    scale = np.float64(scale)
    count, n = rows.shape
    whole = n - n % 8
    for j in range(0, whole, 8):  # eight columns at once: two vectors of four sums
        s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
        for m in range(count):
            s0 += np.float64(rows[m, j])
            s1 += np.float64(rows[m, j + 1])
            s2 += np.float64(rows[m, j + 2])
            s3 += np.float64(rows[m, j + 3])
            s4 += np.float64(rows[m, j + 4])
            s5 += np.float64(rows[m, j + 5])
            s6 += np.float64(rows[m, j + 6])
            s7 += np.float64(rows[m, j + 7])
        out[j], out[j + 1], out[j + 2], out[j + 3] = scale * s0, scale * s1, scale * s2, scale * s3
        out[j + 4], out[j + 5], out[j + 6], out[j + 7] = scale * s4, scale * s5, scale * s6, scale * s7
    for j in range(whole, n):
        total = 0.0
        for m in range(count):
            total += np.float64(rows[m, j])
        out[j] = scale * total


@kernel(reduction=True)
def squared_distance(x, y):
    """|x - y|^2, summed in float64."""
    total = 0.0
    for i in range(x.size):
        difference = np.float64(x[i]) - np.float64(y[i])
        total += difference * difference
    return total


@kernel(reduction=True)
def squared_norm(x):
    """|x|^2, summed in float64."""
    total = 0.0
    for i in range(x.size):
        total += np.float64(x[i]) * np.float64(x[i])
    return total


@kernel(reduction=True)
def dot(x, y):
    """x'y, summed in float64."""
    total = 0.0
    for i in range(x.size):
        total += np.float64(x[i]) * np.float64(y[i])
    return total
