"""Robust regression of one worker: w fits its rows X_i + r, r is the adversary's common shift.

g = M/N sum_i l((X_i + r).w, y_i) + lam/2 |w|^2 - beta/2 |r|^2, F = (grad_w g, -grad_r g).
"""

import math

from .._jit import kernel
from ..updates import dot
from .saddle import add1, add4, dot1, dot4


@kernel
def logistic_operator(out, X, y, weight, lam, beta, z):
    """F at z = (w, r) for l(u, y) = log(1 + exp(-y u)), in one pass over X.

    out[:d] = weight (sum_i c_i X_i + (sum_i c_i) r) + lam w,  out[d:] = beta r - weight (sum_i c_i) w,
    with c_i = l'(u_i, y_i) = -y_i / (1 + exp(y_i u_i)) and u_i = (X_i + r).w.

    Parameters
    ----------
    out, z : (2 d,) float32 or float64
        Must not overlap.
    X : (N_m, d), C-contiguous
    y : (N_m,)
        Labels -1 and 1.
    weight : float
        M / N: workers over samples of all workers.
    lam, beta : float
    """
    d = X.shape[1]
    w, top = z[:d], out[:d]
    shift = dot(w, z[d:])
    top[:] = 0.0
    total = 0.0
    whole = X.shape[0] - X.shape[0] % 4
    for i in range(0, whole, 4):
        u0, u1, u2, u3 = dot4(X, i, w)
        c0, c1 = logistic_slope(u0 + shift, y[i]), logistic_slope(u1 + shift, y[i + 1])
        c2, c3 = logistic_slope(u2 + shift, y[i + 2]), logistic_slope(u3 + shift, y[i + 3])
        add4(top, X, i, c0, c1, c2, c3)
        total += c0 + c1 + c2 + c3
    for i in range(whole, X.shape[0]):
        c = logistic_slope(dot1(X, i, w) + shift, y[i])
        add1(top, X, i, c)
        total += c
    finish(out, total, weight, lam, beta, z)


@kernel
def square_operator(out, X, y, weight, lam, beta, z):
    """F at z = (w, r) for l(u, y) = (u - y)^2 / 2; arguments as in `logistic_operator`, with real y."""
    d = X.shape[1]
    w, top = z[:d], out[:d]
    shift = dot(w, z[d:])
    top[:] = 0.0
    total = 0.0
    whole = X.shape[0] - X.shape[0] % 4
    for i in range(0, whole, 4):
        u0, u1, u2, u3 = dot4(X, i, w)
        c0, c1 = u0 + shift - y[i], u1 + shift - y[i + 1]
        c2, c3 = u2 + shift - y[i + 2], u3 + shift - y[i + 3]
        add4(top, X, i, c0, c1, c2, c3)
        total += c0 + c1 + c2 + c3
    for i in range(whole, X.shape[0]):
        c = dot1(X, i, w) + shift - y[i]
        add1(top, X, i, c)
        total += c
    finish(out, total, weight, lam, beta, z)


@kernel
def logistic_value(X, y, w, r):
    """sum_i log(1 + exp(-y_i u_i)) with u_i = (X_i + r).w."""
    shift = dot(w, r)
    total = 0.0
    for i in range(X.shape[0]):
        margin = y[i] * (dot1(X, i, w) + shift)
        total += max(-margin, 0.0) + math.log1p(math.exp(-abs(margin)))
    return total


@kernel
def square_value(X, y, w, r):
    """sum_i (u_i - y_i)^2 / 2 with u_i = (X_i + r).w."""
    shift = dot(w, r)
    total = 0.0
    for i in range(X.shape[0]):
        error = dot1(X, i, w) + shift - y[i]
        total += 0.5 * error * error
    return total


@kernel
def logistic_slope(u, label):
    # -y / (1 + exp(y u)), the exponential of a negative number only
    margin = label * u
    small = math.exp(-abs(margin))
    return -label * small / (1.0 + small) if margin > 0 else -label / (1.0 + small)


@kernel
def finish(out, total, weight, lam, beta, z):
    d = out.size // 2
    for j in range(d):
        w, r = z[j], z[d + j]
        out[j] = weight * (out[j] + total * r) + lam * w
        out[d + j] = beta * r - weight * total * w
