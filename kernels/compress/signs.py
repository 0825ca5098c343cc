"""Signs, a bit each, and the mean magnitude that goes with them."""

import numpy as np

from .._jit import kernel


@kernel
def mean_magnitude(x):
    """|x|_1 / n; finite where every |x_i| is."""
    total = _sum_magnitudes(x, 1.0)
    if total == np.inf:
        return _sum_magnitudes(x, 1.0 / x.size)
    return total / x.size


@kernel
def pack_signs(words, x):
    """Bit i mod 32 of word i // 32 is 1 where x_i < 0.

    Parameters
    ----------
    words : (ceil(n / 32),) uint32
        Written.
    x : (n,) float64
    """
    for word in range(words.size):
        bits = np.uint64(0)
        for j in range(min(32, x.size - 32 * word)):
            bits |= np.uint64(x[32 * word + j] < 0.0) << np.uint64(j)
        words[word] = np.uint32(bits)


@kernel
def add_signs(out, words, value):
    """out[i] += value, or -value where the bit of i is 1.

    Parameters
    ----------
    out : (n,) float32 or float64
    words : (ceil(n / 32),) uint32
    value : float
    """
    value = np.float64(value)
    for word in range(words.size):
        bits = np.int64(words[word])
        for j in range(min(32, out.size - 32 * word)):
            out[32 * word + j] += value * (1.0 - 2.0 * np.float64(bits >> j & 1))


@kernel(reduction=True)
def _sum_magnitudes(x, unit):
    total = 0.0
    for i in range(x.size):
        total += np.abs(x[i]) * unit
    return total
