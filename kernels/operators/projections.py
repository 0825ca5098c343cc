"""Proximal operators in place, computed in float64 and rounded once to the dtype of x."""

import numpy as np

from .._jit import kernel


@kernel
def project_simplex(x):
    """x = argmin |p - x| over p >= 0, sum p = 1.

    p_i = max(x_i - t, 0), where t is the root of phi(t) = sum_i max(x_i - t, 0) - 1.  Newton's method from the left
    is Michelot's algorithm (1986): t rises, coordinates only leave, and it ends when none does.  phi is convex and
    piecewise linear, so phi times its slope falls to a quarter in each pass at least: log_4(n^2 / eps) passes at most,
    about six in practice.

    Parameters
    ----------
    x : (n,) float32 or float64
        n >= 1.  If an entry is not finite, all become NaN.
    """
    top, poison = -np.inf, 0.0
    for i in range(x.size):
        xi = np.float64(x[i])
        poison += 0.0 * xi
        top = max(top, xi)
    if poison != 0.0:
        x[:] = np.nan
        return
    # Relative to the largest entry all that counts lies in (-1, 0]: nothing is lost beside huge entries.
    t, risen = -1.0, True
    while risen:
        total, count = 0.0, 0
        for i in range(x.size):
            v = np.float64(x[i]) - top
            if v > t:
                total += v
                count += 1
        root = (total - 1.0) / count  # the largest entry, v = 0, never leaves: root < 0
        risen = root > t
        if risen:
            t = root
    for i in range(x.size):
        x[i] = max(np.float64(x[i]) - top - t, 0.0)


@kernel
def shrink(x, threshold):
    """x_i = sign(x_i) max(|x_i| - threshold, 0), the proximal operator of threshold |.|_1; NaN stays NaN.

    Parameters
    ----------
    x : (n,) float32 or float64
    threshold : float
        At least 0.
    """
    threshold = np.float64(threshold)
    for i in range(x.size):
        xi = np.float64(x[i])
        x[i] = xi - min(max(xi, -threshold), threshold)


@kernel
def clip_perturbation(delta, x, radius):
    """delta (b, d) = the nearest point with |delta| <= radius and 0 <= x + delta <= 1, entry by entry."""
    for i in range(delta.shape[0]):
        for j in range(delta.shape[1]):
            low, high = max(-radius, -x[i, j]), min(radius, 1 - x[i, j])
            delta[i, j] = min(max(delta[i, j], low), high)


@kernel
def clip_rows(delta, radius):
    """Each row of delta (b, d) = its projection onto the Euclidean ball of that radius."""
    for i in range(delta.shape[0]):
        total = 0.0
        for j in range(delta.shape[1]):
            total += np.float64(delta[i, j]) * np.float64(delta[i, j])
        if total > radius * radius:
            shrink_by = radius / np.sqrt(total)
            for j in range(delta.shape[1]):
                delta[i, j] *= shrink_by
