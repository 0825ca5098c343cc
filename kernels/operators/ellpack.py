"""A regularised bilinear saddle-point problem with a sparse matrix: its data and its operator.

A is (d, d) with k entries in every row, stored slot by slot (ELLPACK): row i has the entries `values[:, i]` float32 in
the columns `columns[:, i]` uint32, both arrays (k, d).  The columns of slot s lie in [floor(s d/k), floor((s+1) d/k)),
so that a pass over one slot touches a k-th of the vectors, which a cache holds: 3 to 6 times as fast as row by row.
All data come from counter-based streams and are written where they stay.
"""

import numpy as np

from .._jit import kernel
from ..hashing import below, hash64, normal

ROOT_HALF = 0.5**0.5


@kernel
def ellpack_operator(out, columns, values, terms, lam, z):
    """out = (A y + lam x + terms_x, -A' x + lam y + terms_y) at z = (x, y), in one pass over A.

    Products are taken in float64; sums grow in `out`, slot by slot.

    Parameters
    ----------
    out, z : (2 d,) float32 or float64
        Must not overlap.
    columns, values : (k, d)
    terms : (2 d,)
    lam : float
    """
    k, d = columns.shape
    x, y = z[:d], z[d:]
    top, bottom = out[:d], out[d:]
    for i in range(2 * d):
        out[i] = lam * z[i] + terms[i]
    for s in range(k):
        for i in range(d):
            j = np.uint64(columns[s, i])  # unsigned: no branch for negative indices
            a = np.float64(values[s, i])
            top[i] += a * y[j]
            bottom[j] -= a * x[i]


@kernel
def draw_columns(columns, key):
    """One column of its stratum for every slot of every row; those of a row are distinct and ascending.

    Parameters
    ----------
    columns : (k, d) uint32, 1 <= k <= d
        Written.
    key : uint64
    """
    k, d = columns.shape
    for s in range(k):
        start = s * d // k
        width = (s + 1) * d // k - start
        for i in range(d):
            columns[s, i] = start + np.int64(below(hash64(key, s * d + i), width))


@kernel
def draw_values(values, unit, common, deviation, shared, mine, following):
    """values = unit (round(common u) + round(deviation v_m) - round(deviation v_{m+1})), nearly Gaussian u and v_m.

    Parameters
    ----------
    values : (k, d) float32
        Written.
    unit, common, deviation : float
        A power of two, and the sizes of the two parts in this unit; sums below 2^24 units are exact.
    shared, mine, following : uint64
        Keys of u, v_m and v_{m+1}.
    """
    k, d = values.shape
    for s in range(k):
        for i in range(d):
            entry = s * d + i
            whole = np.rint(common * normal(shared, entry)) + np.rint(deviation * normal(mine, entry))
            values[s, i] = unit * (whole - np.rint(deviation * normal(following, entry)))


@kernel
def draw_terms(terms, columns, values, lam, solution, mine, following):
    """terms = (g_m - g_{m+1}) / sqrt 2 - J z*, nearly Gaussian g_m and z*; with them 1/M sum_m F_m(z*) = 0.

    J is the Jacobian of `ellpack_operator`.

    Parameters
    ----------
    terms : (2 d,) float64
        Written.
    columns, values : (k, d)
    lam : float
    solution, mine, following : uint64
        Keys of z*, g_m and g_{m+1}.
    """
    k, d = columns.shape
    for i in range(2 * d):
        terms[i] = ROOT_HALF * (normal(mine, i) - normal(following, i)) - lam * normal(solution, i)
    for s in range(k):
        for i in range(d):
            j = np.int64(columns[s, i])
            a = np.float64(values[s, i])
            terms[i] -= a * normal(solution, d + j)
            terms[d + j] += a * normal(solution, i)
