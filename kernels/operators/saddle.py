"""The operator of a regularised bilinear saddle-point problem."""

import numpy as np

from .._jit import kernel


@kernel
def bilinear_operator(out, A, a, b, lam, z):
    """out = (A y + lam x + a, -A' x + lam y + b) at z = (x, y), in one pass over A.

    F = (grad_x g, -grad_y g) of g = x' A y + a' x - b' y + lam/2 |x|^2 - lam/2 |y|^2.

    Parameters
    ----------
    out, z : (2 d,) float32 or float64
        Must not overlap.
    A : (d, d), C-contiguous
    a, b : (d,)
    lam : float
    """
    d = A.shape[0]
    x, y = z[:d], z[d:]
    top, bottom = out[:d], out[d:]
    for j in range(d):
        bottom[j] = lam * y[j] + b[j]
    whole = d - d % 4
    for i in range(0, whole, 4):  # four rows are read from memory once, and from the cache the second time
        r0, r1, r2, r3 = dot4(A, i, y)
        top[i] = r0 + lam * x[i] + a[i]
        top[i + 1] = r1 + lam * x[i + 1] + a[i + 1]
        top[i + 2] = r2 + lam * x[i + 2] + a[i + 2]
        top[i + 3] = r3 + lam * x[i + 3] + a[i + 3]
        add4(bottom, A, i, -x[i], -x[i + 1], -x[i + 2], -x[i + 3])
    for i in range(whole, d):
        top[i] = dot1(A, i, y) + lam * x[i] + a[i]
        add1(bottom, A, i, -x[i])


@kernel(reduction=True)
def dot1(A, i, v):
    """Row i of A times v, summed in float64."""
    total = 0.0
    for j in range(v.size):
        total += np.float64(A[i, j]) * np.float64(v[j])
    return total


@kernel(reduction=True)
def dot4(A, i, v):
    """Rows i..i+3 of A times v, summed in float64."""
    t0 = t1 = t2 = t3 = 0.0
    for j in range(v.size):
        vj = np.float64(v[j])
        t0 += np.float64(A[i, j]) * vj
        t1 += np.float64(A[i + 1, j]) * vj
        t2 += np.float64(A[i + 2, j]) * vj
        t3 += np.float64(A[i + 3, j]) * vj
    return t0, t1, t2, t3


@kernel
def add1(out, A, i, c):
    """out += c A_i."""
    for j in range(out.size):
        out[j] += c * A[i, j]


@kernel
def add4(out, A, i, c0, c1, c2, c3):
    """out += c0 A_i + c1 A_{i+1} + c2 A_{i+2} + c3 A_{i+3}, one after the other."""
    for j in range(out.size):
        out[j] = out[j] + c0 * A[i, j] + c1 * A[i + 1, j] + c2 * A[i + 2, j] + c3 * A[i + 3, j]
