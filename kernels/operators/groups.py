"""The losses of groups of samples, weighted by an adversary: one worker's share of group DRO.

g = sum_i omega_{g_i} p_{g_i} l(X_i.w, y_i) + lam/2 |w|^2 - beta/2 |p - 1/G|^2, F = (grad_w g, -grad_p g).
"""

import math

from .._jit import kernel
from .saddle import add1, add4, dot1, dot4


@kernel
def logistic_group_operator(out, X, y, group, omega, lam, beta, z):
    """F at z = (w, p) for l(u, y) = log(1 + exp(-y u)), in one pass over X.

    out[:d] = sum_i omega_{g_i} p_{g_i} l'(u_i, y_i) X_i + lam w,
    out[d + g] = beta (p_g - 1/G) - omega_g sum_{i in g} l(u_i, y_i), with u_i = X_i.w.

    Parameters
    ----------
    out, z : (d + G,) float32 or float64
        Must not overlap.
    X : (N_m, d), C-contiguous
    y : (N_m,)
        Labels -1 and 1.
    group : (N_m,) int64
        g_i, from 0 to G - 1.
    omega : (G,)
        M / N_g: workers over the group's samples on all workers.
    lam, beta : float
    """
    d = X.shape[1]
    w, p, top, losses = z[:d], z[d:], out[:d], out[d:]
    _begin(out, lam, beta, z, d)
    whole = X.shape[0] - X.shape[0] % 4
    for i in range(0, whole, 4):
        u0, u1, u2, u3 = dot4(X, i, w)
        c0 = _logistic_term(losses, p, omega, group[i], u0, y[i])
        c1 = _logistic_term(losses, p, omega, group[i + 1], u1, y[i + 1])
        c2 = _logistic_term(losses, p, omega, group[i + 2], u2, y[i + 2])
        c3 = _logistic_term(losses, p, omega, group[i + 3], u3, y[i + 3])
        add4(top, X, i, c0, c1, c2, c3)
    for i in range(whole, X.shape[0]):
        add1(top, X, i, _logistic_term(losses, p, omega, group[i], dot1(X, i, w), y[i]))


@kernel
def square_group_operator(out, X, y, group, omega, lam, beta, z):
    """F at z = (w, p) for l(u, y) = (u - y)^2 / 2; arguments as in `logistic_group_operator`, with real y."""
    d = X.shape[1]
    w, p, top, losses = z[:d], z[d:], out[:d], out[d:]
    _begin(out, lam, beta, z, d)
    whole = X.shape[0] - X.shape[0] % 4
    for i in range(0, whole, 4):
        u0, u1, u2, u3 = dot4(X, i, w)
        c0 = _square_term(losses, p, omega, group[i], u0, y[i])
        c1 = _square_term(losses, p, omega, group[i + 1], u1, y[i + 1])
        c2 = _square_term(losses, p, omega, group[i + 2], u2, y[i + 2])
        c3 = _square_term(losses, p, omega, group[i + 3], u3, y[i + 3])
        add4(top, X, i, c0, c1, c2, c3)
    for i in range(whole, X.shape[0]):
        add1(top, X, i, _square_term(losses, p, omega, group[i], dot1(X, i, w), y[i]))


@kernel
def _begin(out, lam, beta, z, d):
    # the regularisers
    groups = out.size - d
    for j in range(d):
        out[j] = lam * z[j]
    for g in range(groups):
        out[d + g] = beta * (z[d + g] - 1.0 / groups)


@kernel
def _logistic_term(losses, p, omega, g, u, label):
    # subtracts the sample's loss from its group's entry and returns omega_g p_g l'; never exp of a positive number
    margin = label * u
    small = math.exp(-abs(margin))
    losses[g] -= omega[g] * (max(-margin, 0.0) + math.log1p(small))
    slope = -label * small / (1.0 + small) if margin > 0 else -label / (1.0 + small)
    return omega[g] * p[g] * slope


@kernel
def _square_term(losses, p, omega, g, u, label):
    error = u - label
    losses[g] -= omega[g] * 0.5 * error * error
    return omega[g] * p[g] * error
